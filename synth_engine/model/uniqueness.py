"""Unique columns that the row model writes: repeated values move to the nearest free one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.codes import joint_codes
from synth_engine.encode.base import Floats
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.errors import Terminal
from synth_engine.schema import Column, Kind, Table
from synth_engine.schema.types import MOMENT_TYPES, NUMBER_TYPES, base_type, decimal_digits, string_length

ROUNDS = 200


def make_unique(columns: dict[str, pa.Array], unique: Sequence[str], modelled: Sequence[Column], table: Table, rows: int) -> None:
    """Change, in place, one modelled column of `unique` so that no combination repeats (nulls may).

    Raises `Terminal` naming the key if no column of it can be moved.
    """
    codes = [joint_codes([[columns[name]]])[0] for name in unique]
    if not _repeats(codes).any():
        return
    column = _movable(modelled, columns)
    if column is None:
        raise _too_few_combinations(table, unique)
    others = [code for name, code in zip(unique, codes, strict=True) if name != column.name]
    if column.kind in (Kind.CATEGORY, Kind.BOOLEAN):
        exchanged = _exchanged(columns[column.name], others)
        if exchanged is not None:
            columns[column.name] = exchanged
            return
        if base_type(column.data_type) not in {"string", *NUMBER_TYPES}:
            raise _too_few_combinations(table, unique)  # no other values can be made
    if base_type(column.data_type) in ("string", "uuid"):
        columns[column.name] = _numbered(columns[column.name], others, column)
        return
    values = to_floats(columns[column.name], column.data_type)
    columns[column.name] = from_floats(_moved(values, others, _step(values, column), table, unique), column.data_type)


def _movable(modelled: Sequence[Column], columns: Mapping[str, pa.Array]) -> Column | None:
    """Moments first, then strings and numbers: what a small change hurts least. Categories, the one of most values first,
    only exchange them."""
    free = [c for c in modelled if c.kind not in (Kind.CATEGORY, Kind.BOOLEAN)]
    ranked = [c for c in free if base_type(c.data_type) in MOMENT_TYPES]
    ranked += [c for c in free if base_type(c.data_type) in ("string", "uuid")]
    ranked += [c for c in free if base_type(c.data_type) in NUMBER_TYPES]
    ranked += sorted((c for c in modelled if c not in free), key=lambda c: -pc.count_distinct(columns[c.name]).as_py())
    return ranked[0] if ranked else None


def _exchanged(column: pa.Array, others: Sequence[NDArray[np.int64]]) -> pa.Array | None:
    """Repeated categories become the next in frequency that is free beside the other columns; None where too few are."""
    encoded = column.dictionary_encode()
    (codes,) = joint_codes([[column]])
    by_frequency = np.argsort(-np.bincount(codes[codes >= 0], minlength=len(encoded.dictionary)), kind="stable")
    place = np.empty(len(by_frequency), dtype=np.int64)
    place[by_frequency] = np.arange(len(by_frequency))
    at = np.where(codes >= 0, place[codes], -1)
    for _ in range(len(by_frequency) + 1):  # a value that is taken stays taken, and every repeated row passes all of them
        repeated = _repeats([*others, at])
        if not repeated.any():
            return encoded.dictionary.take(pa.array(by_frequency[np.maximum(at, 0)], mask=at < 0))
        at[repeated] = (at[repeated] + 1) % len(by_frequency)
    return None


def _too_few_combinations(table: Table, unique: Sequence[str]) -> Terminal:
    return Terminal(
        f"Key {table.name}({', '.join(unique)}) must be unique",
        value="its columns are categories, or have a format, with too few combinations for the rows asked for",
        advice="ask for fewer rows, or give one of the columns the kind text, integer or timestamp",
    )


def _repeats(codes: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Rows that repeat an earlier one; rows with a null never do."""
    order = np.lexsort([*codes[::-1]])
    same = np.ones(max(len(order) - 1, 0), dtype=np.bool_)
    for code in codes:
        same &= (code[order][1:] == code[order][:-1]) & (code[order][1:] >= 0)
    out = np.zeros(len(order), dtype=np.bool_)
    out[order[1:]] = same
    return out


def _step(values: Floats, column: Column) -> float:
    """The column's own grain: whole hours, minutes or seconds where its values are."""
    known = values[np.isfinite(values)]
    kind = base_type(column.data_type)
    if kind in ("timestamp", "timestamptz", "time"):
        return next((grain for grain in (86_400.0, 3600.0, 60.0, 1.0) if not np.any(np.mod(known, grain))), 1e-6)
    digits = decimal_digits(column.data_type)
    if kind in ("float32", "float64") or digits:
        places = digits[1] if digits else 6
        return next((10.0**-p for p in range(places + 1) if np.allclose(known * 10**p, np.rint(known * 10**p))), 10.0**-places)
    return 1.0


def _moved(values: Floats, others: Sequence[NDArray[np.int64]], step: float, table: Table, unique: Sequence[str]) -> Floats:
    """Repeated values step up, one grain a round, until they are free."""
    grains = np.where(np.isfinite(values), np.rint(values / step), np.nan)
    for _ in range(ROUNDS):
        codes = np.where(np.isfinite(grains), grains, -1).astype(np.int64)
        codes -= codes[np.isfinite(grains)].min(initial=0) - 1
        codes[~np.isfinite(grains)] = -1
        repeated = _repeats([*others, codes])
        if not repeated.any():
            changed = grains != np.rint(values / step)
            return np.where(changed & np.isfinite(grains), grains * step, values)
        grains[repeated] += 1
    raise Terminal(
        f"Key {table.name}({', '.join(unique)}) must be unique",
        value=f"{int(repeated.sum())} rows still repeat one after {ROUNDS} steps",
        advice="ask for fewer rows of this table",
    )


def _numbered(column: pa.Array, others: Sequence[NDArray[np.int64]], declared: Column) -> pa.Array:
    """Repeated strings get a number at their end."""
    texts, longest = column.to_pylist(), string_length(declared.data_type) or 10**6
    seen: set[tuple[object, ...]] = set()
    for i, text in enumerate(texts):
        rest = tuple(int(code[i]) for code in others)
        candidate, extra = text, i
        while candidate is not None and (*rest, candidate) in seen:
            number = np.base_repr(extra, 36).lower()
            candidate = f"{text[: max(longest - len(number), 0)]}{number}"
            extra += len(texts)
        seen.add((*rest, candidate))
        texts[i] = candidate
    return pa.array(texts, column.type)
