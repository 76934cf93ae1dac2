"""Operators: one for each step of a run."""
