"""Tables as Parquet parts in a workspace: written and read as streams, and the source's keys put to the test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synth_engine.codes import joint_codes
from synth_engine.config import Policy
from synth_engine.errors import SourceDataError
from synth_engine.polymorphic import is_of_type
from synth_engine.schema import ForeignKey, PolymorphicKey, Schema, Table
from synth_engine.schema.types import arrow_schema, base_type
from synth_engine.workspace import FileEntry, Workspace

ROW_GROUP = 65_536
PART_ROWS = 16 * ROW_GROUP
"""Rows of one Parquet part. Parts and row groups are cut at fixed rows, so that bytes do not depend on batches."""


def write_table(workspace: Workspace, folder: str, table: Table, batches: Iterable[pa.RecordBatch]) -> tuple[list[FileEntry], int]:
    """Stream batches into the parts of a folder: (files, rows). What an interrupted attempt left there is removed."""
    workspace.clear(folder)
    schema, files, total = arrow_schema(table), [], 0
    groups = _row_groups(batches, schema)
    for part in range(10**5):
        path, rows = workspace.part(folder, part), 0
        with workspace.open(path, "wb") as stream, pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer:
            while rows < PART_ROWS and (group := next(groups, None)) is not None:
                writer.write_table(group, row_group_size=ROW_GROUP)
                rows += group.num_rows
        if rows == 0 and part > 0:
            workspace.clear(path)
            break
        files.append(workspace.describe(path, rows))
        total += rows
        if rows < PART_ROWS:
            break
    return files, total


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The batches re-cut into tables of ROW_GROUP rows, the last one smaller."""
    held, rows = [], 0
    for batch in batches:
        held.append(pa.Table.from_batches([batch]).select(schema.names).cast(schema))
        rows += batch.num_rows
        while rows >= ROW_GROUP:
            whole = pa.concat_tables(held)
            yield whole.slice(0, ROW_GROUP)
            held, rows = [whole.slice(ROW_GROUP)], rows - ROW_GROUP
    if rows:
        yield pa.concat_tables(held).combine_chunks()


def part_rows(workspace: Workspace, path: str) -> int:
    """Rows of one part, from its footer."""
    with workspace.open(path) as stream:
        return int(pq.ParquetFile(stream).metadata.num_rows)


def read_batches(workspace: Workspace, folder: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Stream the parts of a folder in order."""
    for path in workspace.parts(folder):
        with workspace.open(path) as stream:
            yield from pq.ParquetFile(stream).iter_batches(batch_size=ROW_GROUP, columns=columns)


def read_table(workspace: Workspace, folder: str, table: Table, columns: list[str] | None = None) -> pa.Table:
    """A whole table, or some of its columns."""
    schema = arrow_schema(table)
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    return pa.Table.from_batches(list(read_batches(workspace, folder, columns)), schema=schema)


# -- keys of the source -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyFault:
    """A key the source breaks: `kind` is `duplicates`, `nulls` (of floats: `nulls, infinities or NaN`) or `orphans`, in so many `rows`.
    Of a polymorphic reference, rows with an id whose type is not declared are orphans."""

    table: str
    kind: str
    key: str
    rows: int

    def __str__(self) -> str:
        return f"{self.table}: {self.rows} {self.kind} in {self.key}"


def mend_keys(workspace: Workspace, schema: Schema, policy: Policy) -> list[KeyFault]:
    """Find rows that break a primary, unique or foreign key, and treat them as the policy says, in the snapshot.

    Returns the faults found; rows that refer to a row left out count as orphans. Raises `SourceDataError` that lists all
    faults if the policy is to fail, or all orphans that cannot be reproduced.
    """
    faults: list[KeyFault] = []
    kept = {name: _identified(workspace, table, faults) for name, table in schema.tables.items()}
    orphans = _find_orphans(workspace, schema, policy, kept)
    faults += [KeyFault(name, "orphans", key.label(name), int(rows.sum())) for (name, key), rows in orphans.items()]
    _refuse([f for f in faults if (policy.orphans if f.kind == "orphans" else policy.duplicate_keys) == "fail"])
    if policy.orphans == "reproduce":
        _refuse_irreproducible(
            [f for f, (name, key) in zip(faults[-len(orphans) :], orphans, strict=False) if _is_shared(schema, name, key)]
        )
    emptied: dict[str, dict[str, NDArray[np.bool_]]] = {}
    for (name, key), rows in orphans.items():
        if _is_emptied(policy, schema.tables[name], key):
            columns = emptied.setdefault(name, {})
            columns.update({c: columns.get(c, False) | rows for c in _own_columns(key)})
    for name, keep in kept.items():
        if not keep.all() or name in emptied:
            _rewrite(workspace, schema.tables[name], keep, emptied.get(name, {}))
    return faults


def _identified(workspace: Workspace, table: Table, faults: list[KeyFault]) -> NDArray[np.bool_]:
    """Which rows have a primary key and all values they must have, and are the first with each key; adds the others' faults."""
    uniques = [u for u in (table.primary_key, *table.unique) if u]
    needed = [table.primary_key] if table.primary_key else []
    needed += [(c,) for c in _columns_with_nulls(workspace, table) if c not in table.primary_key]
    broken = [(_kind_of_missing(table, columns), columns) for columns in needed]
    keep = np.ones(_count_rows(workspace, table), dtype=np.bool_)
    for kind, columns in [*(("duplicates", u) for u in uniques), *broken]:
        data = read_table(workspace, workspace.snapshot(table.name), table, list(columns))
        rows = _repeated(data, columns) if kind == "duplicates" else _any_null(data, columns)
        if rows.any():
            faults.append(KeyFault(table.name, kind, f"({', '.join(columns)})", int(rows.sum())))
        keep &= ~rows
    return keep


def _kind_of_missing(table: Table, columns: tuple[str, ...]) -> str:
    floats = any(base_type(table.column(c).data_type).startswith("float") for c in columns)
    return "nulls, infinities or NaN" if floats else "nulls"


def _columns_with_nulls(workspace: Workspace, table: Table) -> list[str]:
    """Columns that must not be null and are, by the counts in the footers of the parts; numbers that are not finite are taken for nulls."""
    nulls = dict.fromkeys((c.name for c in table.columns if not c.nullable), 0)
    for path in workspace.parts(workspace.snapshot(table.name)):
        with workspace.open(path) as stream:
            footer = pq.ParquetFile(stream).metadata
        for group in (footer.row_group(i) for i in range(footer.num_row_groups)):
            for chunk in (group.column(i) for i in range(group.num_columns)):
                if chunk.path_in_schema in nulls:
                    nulls[chunk.path_in_schema] += chunk.statistics.null_count
    floats = [c.name for c in table.columns if c.name in nulls and not nulls[c.name] and base_type(c.data_type).startswith("float")]
    for batch in read_batches(workspace, workspace.snapshot(table.name), floats) if floats else ():
        for column in floats:
            nulls[column] += pc.sum(_missing(batch[column])).as_py() or 0
    return [column for column, count in nulls.items() if count]


Key = ForeignKey | PolymorphicKey


def _find_orphans(
    workspace: Workspace, schema: Schema, policy: Policy, kept: dict[str, NDArray[np.bool_]]
) -> dict[tuple[str, Key], NDArray[np.bool_]]:
    """The rows that each key leaves without a parent; takes those that are to be left out from `kept`, in place.

    Parents come before children, so one pass does, but where keys form a cycle: there it goes on until nothing changes.
    """
    found: dict[tuple[str, Key], NDArray[np.bool_]] = {}
    cycles, changed = bool(schema.deferred_keys()) or any(t.polymorphic for t in schema.tables.values()), True
    while changed:
        changed = False
        for name in schema.parents_first():
            table = schema.tables[name]
            keys: list[Key] = [k for k in table.foreign_keys if k.parent in schema.tables]
            for key in [*keys, *table.polymorphic]:
                rows = _orphans(workspace, schema, table, key, kept) & kept[name] & ~found.get((name, key), np.False_)
                if rows.any():
                    found[name, key] = found.get((name, key), np.False_) | rows
                    if policy.orphans != "reproduce" and not _is_emptied(policy, table, key):
                        kept[name] = kept[name] & ~rows
                        changed = cycles
    return found


def _is_emptied(policy: Policy, table: Table, key: Key) -> bool:
    """Whether an orphan's key becomes null; otherwise its row is left out."""
    return policy.orphans == "null" and all(table.column(c).nullable for c in _own_columns(key))


def _own_columns(key: Key) -> tuple[str, ...]:
    """The columns that are null where the key refers to nobody."""
    return key.columns if isinstance(key, ForeignKey) else (key.id_column,)


def _is_shared(schema: Schema, name: str, key: Key) -> bool:
    """Whether a value that no parent has cannot be put into the key: it is of several columns, or another key needs its column."""
    others = (other for other in schema.tables[name].foreign_keys if other != key)
    return not isinstance(key, ForeignKey) or len(key.columns) > 1 or any(set(key.columns) & set(other.columns) for other in others)


def _refuse_irreproducible(faults: list[KeyFault]) -> None:
    if faults:
        raise SourceDataError(
            "Orphans can be reproduced only where the key is one column that no other foreign key has",
            value="; ".join(map(str, faults)),
            advice="mend the source, or set policy.orphans: drop (or null, for nullable keys)",
        )


def _count_rows(workspace: Workspace, table: Table) -> int:
    return sum(part_rows(workspace, path) for path in workspace.parts(workspace.snapshot(table.name)))


def _refuse(faults: list[KeyFault]) -> None:
    if not faults:
        return
    ways = ["policy.duplicate_keys: drop, which leaves such rows out"] if any(f.kind != "orphans" for f in faults) else []
    ways += ["policy.orphans: drop (or null, for nullable keys), or reproduce"] if any(f.kind == "orphans" for f in faults) else []
    raise SourceDataError(
        "The source must keep its own keys and hold a value where one must be, or the policy must say what to do",
        value="; ".join(map(str, faults)),
        advice=f"mend the source, or set {'; and '.join(ways)}",
    )


def _any_null(data: pa.Table, columns: tuple[str, ...]) -> NDArray[np.bool_]:
    out = np.zeros(data.num_rows, dtype=np.bool_)
    for column in columns:
        out |= _missing(data[column]).to_numpy()
    return out


def _missing(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Which values are null, or numbers that are not finite."""
    if pa.types.is_floating(values.type):
        return pc.invert(pc.fill_null(pc.is_finite(values), False))
    return values.is_null()


def _repeated(data: pa.Table, columns: tuple[str, ...]) -> NDArray[np.bool_]:
    """Rows whose key an earlier row has; a key with a null in it repeats nothing."""
    (code,) = joint_codes([[data[c]] for c in columns])
    again = np.ones(data.num_rows, dtype=np.bool_)
    again[np.unique(code, return_index=True)[1]] = False
    return again & (code >= 0)


def _orphans(workspace: Workspace, schema: Schema, table: Table, key: Key, kept: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Rows without a null in the key whose parent is not there (any more)."""
    folder = workspace.snapshot(table.name)
    if isinstance(key, ForeignKey):
        data = read_table(workspace, folder, table, list(key.columns))
        parent = _kept_rows(workspace, schema, key.parent, key.parent_columns, kept)
        return _without_parent([[parent[p], data[c]] for c, p in zip(key.columns, key.parent_columns, strict=True)])
    data = read_table(workspace, folder, table, [key.type_column, key.id_column])
    out = np.asarray(data[key.id_column].is_valid().to_numpy(), dtype=np.bool_)
    for of, parent_name, column in key.parents:
        ids = pc.if_else(is_of_type(data[key.type_column], of), data[key.id_column], None)
        parent = _kept_rows(workspace, schema, parent_name, (column,), kept)
        out &= ids.is_null().to_numpy() | _without_parent([[parent[column].cast(ids.type), ids]])
    return out


def _kept_rows(workspace: Workspace, schema: Schema, name: str, columns: tuple[str, ...], kept: dict[str, NDArray[np.bool_]]) -> pa.Table:
    data = read_table(workspace, workspace.snapshot(name), schema.tables[name], list(dict.fromkeys(columns)))
    return data.filter(pa.array(kept[name]))


def _without_parent(sides: list[list[pa.ChunkedArray]]) -> NDArray[np.bool_]:
    """For each column of a key the parent's values and the child's: rows of the child without a null that no parent matches."""
    known, wanted = joint_codes(sides)
    return (wanted >= 0) & ~np.isin(wanted, known)


def _rewrite(workspace: Workspace, table: Table, keep: NDArray[np.bool_], emptied: dict[str, NDArray[np.bool_]]) -> None:
    """Write the snapshot of a table anew without the rows not kept and with the emptied keys."""
    data = read_table(workspace, workspace.snapshot(table.name), table)
    for column, broken in emptied.items():
        place = data.column_names.index(column)
        values = pc.if_else(pa.array(broken), pa.scalar(None, data.schema.field(column).type), data[column])
        data = data.set_column(place, data.schema.field(column), values)
    write_table(workspace, workspace.snapshot(table.name), table, data.filter(pa.array(keep)).to_batches())
