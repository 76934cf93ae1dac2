"""Columns to tokens and back: one file a kind of column, both directions in one small class."""
