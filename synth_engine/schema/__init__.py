"""What a relational schema is, and the ways to obtain one."""

from synth_engine.schema.model import Column, ForeignKey, Kind, Provenance, Schema, Table

__all__ = ["Column", "ForeignKey", "Kind", "Provenance", "Schema", "Table"]
