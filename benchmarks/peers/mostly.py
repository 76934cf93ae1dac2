"""MOSTLY AI SDK in local mode: one generator with all tables. A table's context is the parent with the fewest children a row that has
any: long sequences cost it most. Where hardly any row has children it would draw none at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

import pandas as pd
from mostlyai.sdk import MostlyAI

from benchmarks.peers.contract import TableFacts, Task, own_key, single_keys

ENCODINGS = {
    "category": "TABULAR_CATEGORICAL",
    "boolean": "TABULAR_CATEGORICAL",
    "integer": "TABULAR_NUMERIC_AUTO",
    "decimal": "TABULAR_NUMERIC_AUTO",
    "date": "TABULAR_DATETIME",
    "timestamp": "TABULAR_DATETIME",
}
"""By kind. All other columns are texts to it, which its tabular models write letter by letter."""


SHARE = 0.05
"""Share of a parent's rows that must have children for it to be a context."""


def main() -> None:
    task = Task.from_arguments()
    frames = task.frames()
    tables = [_table(facts, frames, task) for facts in task.tables.values()]
    local = task.target / "local"
    mostly = MostlyAI(local=True, quiet=True, local_dir=str(local))
    with task.phase("training"):
        generator = mostly.train(config={"name": "benchmark", "random_state": task.seed, "tables": tables})
    with task.phase("generation"):
        found = mostly.generate(generator, config={"random_state": task.seed}).data(return_type="dict")
    shutil.rmtree(local, ignore_errors=True)  # copies of the data and the model; a job of its own may still be at work there
    task.finish(found)


def _table(facts: TableFacts, frames: Mapping[str, pd.DataFrame], task: Task) -> dict[str, Any]:
    frame = frames[facts["name"]]
    primary, keys = own_key(facts, task.remarks), _keys(facts, frames, task.remarks)
    named = {primary, *(key["column"] for key in keys)}
    columns = []
    for column in facts["columns"]:
        encoding = {} if column["name"] in named else {"model_encoding_type": _encoding(column["kind"], frame[column["name"]])}
        columns.append({"name": column["name"], **encoding})
    return {
        "name": facts["name"],
        "data": frame,
        "primary_key": primary,
        "foreign_keys": keys,
        "columns": columns,
        "tabular_model_configuration": {"max_training_time": task.cap_seconds / 60, "enable_model_report": False},
    }


def _keys(facts: TableFacts, frames: Mapping[str, pd.DataFrame], remarks: list[str]) -> list[dict[str, Any]]:
    children = frames[facts["name"]]
    keys = single_keys(facts, remarks)
    typical = []
    for column, parent, _ in keys:
        used = children[column].dropna().nunique()
        if parent != facts["name"] and used >= SHARE * len(frames[parent]):  # a table cannot be its own context
            typical.append((len(children) / max(used, 1), column))
    context = min(typical)[1] if typical else None
    return [{"column": column, "referenced_table": parent, "is_context": column == context} for column, parent, _ in keys]


def _encoding(kind: str, values: pd.Series[Any]) -> str:
    if kind in ("date", "timestamp") and not pd.api.types.is_datetime64_any_dtype(values):
        kind = "integer" if pd.api.types.is_numeric_dtype(values) else "category"  # a moment written as a number or a text
    return ENCODINGS.get(kind, "TABULAR_CHARACTER")


if __name__ == "__main__":
    main()
