"""MOSTLY AI SDK in local mode: one generator with all tables, the first foreign key of a table as its context."""

from __future__ import annotations

import shutil
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


def main() -> None:
    task = Task.from_arguments()
    frames = task.frames()
    tables = [_table(facts, frames[name], task) for name, facts in task.tables.items()]
    local = task.target / "local"
    mostly = MostlyAI(local=True, quiet=True, local_dir=str(local))
    with task.phase("training"):
        generator = mostly.train(config={"name": "benchmark", "random_state": task.seed, "tables": tables})
    with task.phase("generation"):
        found = mostly.generate(generator, config={"random_state": task.seed}).data(return_type="dict")
    shutil.rmtree(local, ignore_errors=True)  # copies of the data and the model; a job of its own may still be at work there
    task.finish(found)


def _table(facts: TableFacts, frame: pd.DataFrame, task: Task) -> dict[str, Any]:
    primary, keys = own_key(facts, task.remarks), _keys(facts, task.remarks)
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


def _keys(facts: TableFacts, remarks: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for column, parent, _ in single_keys(facts, remarks):
        # a table cannot be its own context
        context = parent != facts["name"] and not any(key["is_context"] for key in found)
        found.append({"column": column, "referenced_table": parent, "is_context": context})
    return found


def _encoding(kind: str, values: pd.Series[Any]) -> str:
    if kind in ("date", "timestamp") and not pd.api.types.is_datetime64_any_dtype(values):
        kind = "integer" if pd.api.types.is_numeric_dtype(values) else "category"  # a moment written as a number or a text
    return ENCODINGS.get(kind, "TABULAR_CHARACTER")


if __name__ == "__main__":
    main()
