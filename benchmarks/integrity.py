"""Is what a peer handed over a database of the schema? Its tables in the schema's types, and every rule they break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from synth_engine.codes import joint_codes
from synth_engine.schema import Column, Schema, Table
from synth_engine.schema.types import to_arrow

NULLS_TOLERATED = 0.05
"""A key may be null in a share of the rows that differs from the real one by so much."""

Tables = Mapping[str, pa.Table]


def read_tables(schema: Schema, folder: Path) -> tuple[dict[str, pa.Table], list[str]]:
    """The tables a peer wrote, in the types of the schema; what is missing or of another type is null, and a fault."""
    found, faults = {}, []
    for name, table in schema.tables.items():
        path = folder / f"{name}.parquet"
        data = pq.read_table(path) if path.exists() else pa.table({})
        if not path.exists():
            faults.append(f"{name}: the table is missing")
        arrays = {}
        for column in table.columns:
            if column.name in data.column_names:
                arrays[column.name], lost = _as_type(data[column.name].combine_chunks(), to_arrow(column.data_type))
                if lost:
                    faults.append(f"{name}.{column.name}: {lost} values that are no {column.data_type}")
            else:
                arrays[column.name] = pa.nulls(len(data), to_arrow(column.data_type))
                if path.exists():
                    faults.append(f"{name}.{column.name}: the column is missing")
        found[name] = pa.table(arrays)
    return found, faults


def _as_type(values: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, int]:
    """The values in this type, and how many cannot be: they are null."""
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    for way in ((wanted,), (pa.float64(), wanted), (pa.timestamp("us"), wanted)):
        try:
            cast = values
            for step in way:
                cast = cast.cast(step, safe=False)
            return cast, cast.null_count - values.null_count
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    return pa.nulls(len(values), wanted), len(values) - values.null_count


def faults(schema: Schema, real: Tables, synthetic: Tables) -> list[str]:
    """Every rule that is broken, with the number of rows that break it."""
    found = []
    for name, table in schema.tables.items():
        data = synthetic[name]
        found += [
            f"{name}.{c.name}: {data[c.name].null_count} nulls"
            for c in table.columns
            if _must_be_there(c, table) and data[c.name].null_count
        ]
        for columns in filter(None, (table.primary_key, *table.unique)):
            if repeated := _repeated(data, columns):
                found.append(f"{name}.({', '.join(columns)}): {repeated} rows repeat a key")
        for key in table.foreign_keys:
            parent = synthetic[key.parent]
            pairs = zip(key.columns, key.parent_columns, strict=True)
            ours, theirs = joint_codes([(data[c], parent[p]) for c, p in pairs])
            if orphans := int((~np.isin(ours[ours >= 0], theirs)).sum()):
                found.append(f"{key.label(name)}: {orphans} orphans")
            shares = _null_share(real[name], key.columns), _null_share(data, key.columns)
            if len(data) and abs(shares[0] - shares[1]) > max(NULLS_TOLERATED, 1.5 / len(data)):
                found.append(f"{key.label(name)}: null in {shares[1]:.0%} of the rows, {shares[0]:.0%} of the real ones")
    return found


def _must_be_there(column: Column, table: Table) -> bool:
    return not column.nullable or column.name in table.primary_key


def _repeated(data: pa.Table, columns: Sequence[str]) -> int:
    (codes,) = joint_codes([(data[c],) for c in columns])
    present = codes[codes >= 0]
    return len(present) - len(np.unique(present))


def _null_share(data: pa.Table, columns: Sequence[str]) -> float:
    missing = np.zeros(len(data), np.bool_)
    for column in columns:
        missing |= np.asarray(pc.is_null(data[column]).to_numpy(), dtype=np.bool_)
    return float(missing.mean()) if len(data) else 0.0
