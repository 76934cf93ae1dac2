"""What a relational schema is, and the ways to obtain one."""

from synth_engine.schema.model import Column, ForeignKey, Kind, PolymorphicKey, Provenance, Schema, Table

__all__ = ["Column", "ForeignKey", "Kind", "PolymorphicKey", "Provenance", "Schema", "Table"]
