"""Is what a peer handed over a database of the schema? Its tables in the schema's types, and every rule they break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Reading:
    """`tables` in the types of the schema. `faults`: what is missing or of another type, and null here. `remarks`: keys of another
    type; as they are mere names, they are kept as texts, with all that refer to them."""

    tables: dict[str, pa.Table]
    faults: list[str]
    remarks: list[str]


def read_tables(schema: Schema, folder: Path) -> Reading:
    """The tables a peer wrote."""
    read = {name: pq.read_table(path) for name in schema.tables if (path := folder / f"{name}.parquet").exists()}
    faults = [f"{name}: the table is missing" for name in schema.tables if name not in read]
    renamed = _renamed(schema, read)
    found = {}
    for name, table in schema.tables.items():
        arrays, data = {}, read.get(name, pa.table({}))
        for column in table.columns:
            wanted = pa.string() if (name, column.name) in renamed else to_arrow(column.data_type)
            if column.name in data.column_names:
                arrays[column.name], lost = _as_type(data[column.name], wanted)
                if lost:
                    faults.append(f"{name}.{column.name}: {lost} values that are no {column.data_type}")
            else:
                arrays[column.name] = pa.nulls(len(data), wanted)
                if name in read:
                    faults.append(f"{name}.{column.name}: the column is missing")
        found[name] = pa.table(arrays)
    remarks = [f"keys of another type: {', '.join(f'{name}.{column}' for name, column in sorted(renamed))}"] if renamed else []
    return Reading(found, faults, remarks)


def _renamed(schema: Schema, read: Tables) -> set[tuple[str, str]]:
    """Columns of keys whose values are of another type, and those they refer to or are referred to by."""
    pairs = [
        ((name, column), (key.parent, parent))
        for name, table in schema.tables.items()
        for key in table.foreign_keys
        for column, parent in zip(key.columns, key.parent_columns, strict=True)
    ]
    keys = {end for pair in pairs for end in pair} | {(name, c) for name, table in schema.tables.items() for c in table.primary_key}
    found = set()
    for name, column in keys:
        if name in read and column in read[name].column_names:
            _, lost = _as_type(read[name][column], to_arrow(schema.tables[name].column(column).data_type))
            if lost:
                found.add((name, column))
    while more := {end for pair in pairs if found & set(pair) for end in pair} - found:
        found |= more
    return found


def _as_type(column: pa.ChunkedArray, wanted: pa.DataType) -> tuple[pa.Array, int]:
    """The values in this type, and how many cannot be: those alone are null."""
    values = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    cast = _cast(values, wanted)
    if cast is None:
        coded = values.dictionary_encode()
        single = [_cast(coded.dictionary.slice(i, 1), wanted) for i in range(len(coded.dictionary))]
        cast = pa.concat_arrays([pa.nulls(1, wanted) if one is None else one for one in single]).take(coded.indices)
    return cast, cast.null_count - values.null_count


def _cast(values: pa.Array, wanted: pa.DataType) -> pa.Array | None:
    """None if one of them cannot be of this type."""
    for way in ((wanted,), (pa.float64(), wanted), (pa.timestamp("us"), wanted)):
        try:
            cast = values
            for step in way:
                cast = cast.cast(step, safe=False)
            return cast
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    return None


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
