"""Hooks: how a connection of Airflow becomes a warehouse of the engine."""
