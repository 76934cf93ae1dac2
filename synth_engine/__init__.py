"""Warehouse-native synthesis: learn a relational schema, write back a synthetic twin of it.

From Python, five lines:

    from synth_engine import train
    model = train({"users": users, "orders": orders}, "schema.yaml", seed=1)
    twin = model.generate({"users": 1000})
    model.save("models/shop")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synth_engine.config import Config
    from synth_engine.errors import SynthError, Terminal, Transient
    from synth_engine.library import SynthModel, generate, infer_schema, train
    from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table

__all__ = [
    "Column",
    "Config",
    "ForeignKey",
    "Kind",
    "Schema",
    "SynthError",
    "SynthModel",
    "Table",
    "Terminal",
    "Transient",
    "generate",
    "infer_schema",
    "train",
]

_HOME = {
    **dict.fromkeys(("Column", "ForeignKey", "Kind", "Schema", "Table"), "synth_engine.schema"),
    **dict.fromkeys(("SynthError", "Terminal", "Transient"), "synth_engine.errors"),
    **dict.fromkeys(("SynthModel", "generate", "infer_schema", "train"), "synth_engine.library"),
    "Config": "synth_engine.config",
}


def __getattr__(name: str) -> Any:
    """Load a name's module when it is first used: importing the package costs next to nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("airflow-provider-synth")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
