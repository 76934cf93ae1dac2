"""Unique columns that the row model writes: repeated values move to the nearest free one, in a gap or beyond the source's range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.codes import joint_codes
from synth_engine.encode.values import FOUR_DIGIT_YEARS, from_floats, to_floats
from synth_engine.errors import Terminal
from synth_engine.schema import Column, Kind, Table
from synth_engine.schema.types import MOMENT_TYPES, NUMBER_TYPES, base_type, decimal_digits, string_length, to_arrow, written_form

Rows = NDArray[np.int64]
TYPE_RANGES = {"int16": (-(2**15), 2**15 - 1), "int32": (-(2**31), 2**31 - 1), "time": (0, 86_399)}
DAYS = (-719_162, 2_932_896)
"""First and last day of the years 1 to 9999."""
WIDEST = 2**62
DIGITS = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)


def make_unique(columns: dict[str, pa.Array], unique: Sequence[str], modelled: Sequence[Column], table: Table, rows: int) -> None:
    """Change, in place, one modelled column of `unique` so that no combination repeats (nulls may).

    Raises `Terminal` naming the key if no column of it can be moved.
    """
    codes = [joint_codes([[columns[name]]])[0] for name in unique]
    if not _repeats(codes).any():
        return
    column = _movable(modelled, columns)
    if column is None:
        raise Terminal(
            f"Key {table.name}({', '.join(unique)}) must be unique",
            value=f"{rows:,} rows, and formats with room for fewer",
            advice=f"ask for fewer rows of {table.name}, or give a column of the key a format with more room",
        )
    others = [code for name, code in zip(unique, codes, strict=True) if name != column.name]
    free = base_type(column.data_type)
    if column.kind in (Kind.CATEGORY, Kind.BOOLEAN):
        exchanged = _exchanged(columns[column.name], others)
        if exchanged is not None:
            columns[column.name] = exchanged
            return
        if free not in {"string", *NUMBER_TYPES}:
            raise _too_few(table, unique, column, codes, others, pc.count_distinct(columns[column.name]).as_py())
    values = columns[column.name]
    if free in ("string", "uuid"):
        found = _numbered(values, others, string_length(column.data_type))
        if found is None:
            raise _too_few(table, unique, column, codes, others, 36 ** (string_length(column.data_type) or 0))
        columns[column.name] = found
        return
    step = _step(values, column)
    low, high = _range(column, step)
    grains, group = _grains(values, column, step), _group(others, rows)
    complete = np.asarray(values.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_) & (group >= 0)
    if int(np.bincount(group[complete]).max(initial=0)) > high - low + 1:
        raise _too_few(table, unique, column, codes, others, high - low + 1)
    moved = grains.copy()
    moved[complete] = _moved(grains[complete], group[complete], low, high)
    columns[column.name] = pc.if_else(pa.array(moved != grains), _from_grains(moved, column, step), values)


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


def _too_few(table: Table, unique: Sequence[str], column: Column, codes: Sequence[Rows], others: Sequence[Rows], room: int) -> Terminal:
    """What to tell where the column has `room` for fewer values than rows have to differ in it."""
    complete = np.all([code >= 0 for code in codes], axis=0)
    most = int(np.bincount(_group(others, len(complete))[complete]).max(initial=0))
    rest = [c for c in unique if c != column.name]
    return Terminal(
        f"Key {table.name}({', '.join(unique)}) must be unique",
        value=f"{most:,} rows{' that agree in ' + ', '.join(rest) if rest else ''}, room for {room:,} values of {column.name}",
        advice=f"ask for fewer rows of {table.name}, or give {column.name} the kind text, integer or timestamp",
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


def _step(column_values: pa.Array, column: Column) -> float:
    """The column's own grain: whole hours, minutes or seconds where its values are."""
    values = to_floats(column_values, column.data_type)
    known = values[np.isfinite(values)]
    kind = base_type(column.data_type)
    if kind in ("timestamp", "timestamptz", "time"):
        return next((grain for grain in (86_400.0, 3600.0, 60.0, 1.0) if not np.any(np.mod(known, grain))), 1e-6)
    digits = decimal_digits(column.data_type)
    if kind in ("float32", "float64") or digits:
        places = digits[1] if digits else 6
        return next((10.0**-p for p in range(places + 1) if np.allclose(known * 10**p, np.rint(known * 10**p))), 10.0**-places)
    return 1.0


def _range(column: Column, step: float) -> tuple[int, int]:
    """Lowest and highest value that the column's type can hold, in steps."""
    kind, digits = base_type(column.data_type), decimal_digits(column.data_type)
    if kind in MOMENT_TYPES:
        first, last = FOUR_DIGIT_YEARS if written_form(column.data_type) else DAYS
        seconds = 1 if kind == "date" else 86_400
        return -int(-first * seconds / step), int(last * seconds / step)
    if digits:
        most = int((10.0 ** (digits[0] - digits[1]) - 10.0 ** -digits[1]) / step)
        return -most, most
    low, high = TYPE_RANGES.get(kind, (-WIDEST, WIDEST))
    return max(int(low / step), -WIDEST), min(int(high / step), WIDEST)


def _grains(values: pa.Array, column: Column, step: float) -> Rows:
    """The values in steps; 0 where they are null."""
    if base_type(column.data_type).startswith("int"):
        return np.asarray(pc.fill_null(values, 0).cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
    known = to_floats(values, column.data_type)
    return np.where(np.isfinite(known), np.rint(np.nan_to_num(known) / step), 0).astype(np.int64)


def _from_grains(grains: Rows, column: Column, step: float) -> pa.Array:
    if base_type(column.data_type).startswith("int"):
        return pa.array(grains).cast(to_arrow(column.data_type))
    return from_floats(grains.astype(np.float64) * step, column.data_type)


def _group(others: Sequence[Rows], rows: int) -> Rows:
    """Equal numbers for rows that agree in the other columns of the key, -1 where one is null."""
    group = np.zeros(rows, dtype=np.int64)
    for code in others:
        joint = np.unique(group * (code.max(initial=0) + 1) + np.maximum(code, 0), return_inverse=True)[1].reshape(-1)
        group = np.where((group < 0) | (code < 0), -1, joint)
    return group


def _moved(values: Rows, group: Rows, low: int, high: int) -> Rows:
    """Repeated values become the next above that is free in their group, or, where the range ends, the next below; the first
    of each stays. All at once: the values in order take places one after another, as in linear probing, whose places do not
    depend on the order of arrival; places that no value stood on are for the repeated ones."""
    order = np.lexsort((values, group))
    value, of = values[order], group[order]
    place = np.arange(len(order))
    first = np.searchsorted(of, of, side="left")
    left = np.searchsorted(of, of, side="right") - place  # rows of the group from here on
    behind = value - (place - first)
    levels, level = np.unique(behind, return_inverse=True)
    apart = of * len(levels)  # so that the running maximum starts anew with each group
    slots = levels[np.maximum.accumulate(level.reshape(-1) + apart) - apart] + (place - first)
    slots = np.minimum(slots, high - (left - 1))
    repeated = np.r_[False, (value[1:] == value[:-1]) & (of[1:] == of[:-1])][: len(order)]
    slot, mine = np.stack([of, slots]), np.stack([of[~repeated], value[~repeated]])
    taken = _in(slot, mine)
    value = value.copy()
    value[repeated] = slots[~taken]
    out = np.empty_like(values)
    out[order] = value
    return out


def _in(pairs: Rows, known: Rows) -> NDArray[np.bool_]:
    """Which of the pairs are among the known ones."""
    both = np.concatenate([known, pairs], axis=1)
    order = np.lexsort((np.arange(both.shape[1]), both[1], both[0]))
    equal = np.r_[False, (both[:, order][:, 1:] == both[:, order][:, :-1]).all(axis=0)][: len(order)]
    out = np.zeros(len(order), dtype=np.bool_)
    out[order] = equal
    return out[known.shape[1] :]


def _numbered(column: pa.Array, others: Sequence[Rows], longest: int | None) -> pa.Array | None:
    """Repeated strings get a number at their end; None where so many do not fit."""
    texts, number = column, 0
    while True:
        repeated = _repeats([*others, joint_codes([[texts]])[0]])
        count = int(repeated.sum())
        if not count:
            return texts
        width = len(np.base_repr(number + count - 1, 36))
        if longest is not None and width > longest:
            return None
        digits = (number + np.arange(count))[:, None] // 36 ** np.arange(width - 1, -1, -1) % 36
        ends = pa.array(np.ascontiguousarray(DIGITS[digits]).view(f"S{width}").reshape(-1)).cast(pa.string())
        kept = column.filter(pa.array(repeated))
        kept = kept if longest is None else pc.utf8_slice_codeunits(kept, 0, longest - width)
        texts = pc.replace_with_mask(texts, pa.array(repeated), pc.binary_join_element_wise(kept, ends, "").cast(column.type))
        number += count
