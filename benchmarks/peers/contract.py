"""What each peer is asked for and hands back: the same for all, whatever environment they run in.

    python -m benchmarks.peers.NAME SOURCE TARGET SEED CAP [VARIANT]

SOURCE holds `schema.json` (`Schema.to_dict`) and one `<table>.parquet` a table. A peer learns them, for at most CAP seconds
a table, and leaves `tables/<table>.parquet` and, last, `handed_over.json` under TARGET. One that cannot do so ends with a traceback.
This module runs in every environment: it needs pandas and pyarrow only.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

TableFacts = Mapping[str, Any]
"""One entry of `tables` in `Schema.to_dict`."""


@dataclass
class Task:
    """One data set, one seed. `phases` are the clock's times at the beginning and end of training and of generation, by
    which the runner, who watches the memory, tells them apart; `remarks` say what of the schema the peer could not be told."""

    source: Path
    target: Path
    seed: int
    cap_seconds: float
    variant: str | None = None
    phases: dict[str, tuple[float, float]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def from_arguments(cls) -> Task:
        source, target, seed, cap, *variant = sys.argv[1:]
        return cls(Path(source), Path(target), int(seed), float(cap), variant[0] if variant else None)

    @property
    def raw_schema(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.source / "schema.json").read_text(encoding="utf-8"))
        return content

    @property
    def tables(self) -> dict[str, TableFacts]:
        return {table["name"]: table for table in self.raw_schema["tables"]}

    def arrow(self) -> dict[str, pa.Table]:
        return {name: pq.read_table(self.source / f"{name}.parquet") for name in self.tables}

    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables in the types that data frames commonly have."""
        return {name: _frame(table) for name, table in self.arrow().items()}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.time()
        yield
        self.phases[name] = (began, time.time())

    def finish(self, tables: Mapping[str, pd.DataFrame | pa.Table]) -> None:
        folder = self.target / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
            pq.write_table(arrow, folder / f"{name}.parquet")
        told = {"phases": self.phases, "remarks": self.remarks}
        aside = self.target / "handed_over.part"
        aside.write_text(json.dumps(told), encoding="utf-8")
        aside.replace(self.target / "handed_over.json")  # by which the runner knows that all is there


def own_key(table: TableFacts, remarks: list[str]) -> str | None:
    """The primary key, for peers that know keys of one column only; what they are not told is remarked."""
    key = table["primary_key"]
    if len(key) > 1:
        remarks.append(f"primary key {table['name']}.({', '.join(key)}) left out: it has several columns")
    return key[0] if len(key) == 1 else None


def single_keys(table: TableFacts, remarks: list[str]) -> list[tuple[str, str, str]]:
    """`(column, parent, parent's column)` of the foreign keys of one column, the first if a column has several."""
    found: dict[str, tuple[str, str, str]] = {}
    for key in table["foreign_keys"]:
        label = f"foreign key {table['name']}.({', '.join(key['columns'])}) -> {key['parent']}"
        if len(key["columns"]) > 1:
            remarks.append(f"{label} left out: it has several columns")
        elif key["columns"][0] in found:
            remarks.append(f"{label} left out: the column has another key")
        else:
            found[key["columns"][0]] = (key["columns"][0], key["parent"], key["parent_columns"][0])
    return list(found.values())


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    for field_ in table.schema:
        if pa.types.is_integer(field_.type) and table[field_.name].null_count:
            frame[field_.name] = table[field_.name].to_pandas(types_mapper={field_.type: pd.Int64Dtype()}.get)
        elif pa.types.is_date(field_.type) or pa.types.is_timestamp(field_.type):
            frame[field_.name] = frame[field_.name].dt.as_unit("ns")  # SDV takes whatever else there is for nanoseconds, too
        elif pa.types.is_decimal(field_.type):
            frame[field_.name] = frame[field_.name].astype(float)
        elif pa.types.is_time(field_.type):
            frame[field_.name] = frame[field_.name].astype("string").astype(object)
    return frame
