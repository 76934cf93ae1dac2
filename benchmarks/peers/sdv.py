"""SDV's HMASynthesizer. It knows no cap on training time, so that only the time-out of the whole run stops it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sdv.metadata import Metadata
from sdv.multi_table import HMASynthesizer

from benchmarks.peers.contract import TableFacts, Task, own_key, single_keys

TYPES = {
    "identifier": "id",
    "category": "categorical",
    "boolean": "boolean",
    "integer": "numerical",
    "decimal": "numerical",
    "date": "datetime",
    "timestamp": "datetime",
}
"""By kind. Columns of all other kinds are unknown to it: it writes made-up texts into them."""


def main() -> None:
    task = Task.from_arguments()
    np.random.seed(task.seed)
    frames = task.frames()
    metadata = Metadata.load_from_dict(_metadata(task, frames))
    with task.phase("training"):
        synthesizer = HMASynthesizer(metadata, verbose=False)
        synthesizer.fit(frames)
    with task.phase("generation"):
        synthetic = synthesizer.sample_scale(1.0)
    task.finish(synthetic)


def _metadata(task: Task, frames: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What it can be told of the schema: no keys of several columns, none to the own table, no chains of keys.

    It refuses a chain of two keys (a child of a child); the upper one is left out.
    """
    tables: dict[str, Any] = {}
    relationships = []
    primary = {name: own_key(facts, task.remarks) for name, facts in task.tables.items()}
    referred = {key["parent"] for name, facts in task.tables.items() for key in facts["foreign_keys"] if key["parent"] != name}
    for name, facts in task.tables.items():
        keys = []
        for column, parent, parent_column in single_keys(facts, task.remarks):
            if why := _refused(name, parent, parent_column == primary[parent], referred):
                task.remarks.append(f"foreign key {name}.({column}) -> {parent} left out: {why}")
                continue
            keys.append(column)
            relationships.append(
                {
                    "parent_table_name": parent,
                    "parent_primary_key": parent_column,
                    "child_table_name": name,
                    "child_foreign_key": column,
                }
            )
        named = {primary[name], *keys}
        columns = {c["name"]: {"sdtype": "id"} if c["name"] in named else _type(c, frames[name][c["name"]]) for c in facts["columns"]}
        tables[name] = {"columns": columns} | ({"primary_key": primary[name]} if primary[name] else {})
    return {"tables": tables, "relationships": relationships, "METADATA_SPEC_VERSION": "V1"}


def _refused(name: str, parent: str, primary: bool, referred: set[str]) -> str:
    """Why a key cannot be told, nothing if it can."""
    if parent == name:
        return "it refers to its own table"
    if not primary:
        return "it refers to no primary key"
    return "other tables refer to the child, and chains of keys are refused" if name in referred else ""


def _type(column: TableFacts, values: pd.Series[Any]) -> dict[str, Any]:
    kind = column["kind"]
    if kind in ("date", "timestamp") and not pd.api.types.is_datetime64_any_dtype(values):
        kind = "integer" if pd.api.types.is_numeric_dtype(values) else "category"  # a moment written as a number or a text
    return {"sdtype": TYPES.get(kind, "unknown")} | ({"pii": True} if kind not in TYPES else {})


if __name__ == "__main__":
    main()
