"""Which columns of a table follow from others of their row or of a parent: found in the data, where it holds in every row."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.calendar import BETWEEN, NAMED, PARTS, seconds_of
from synth_engine.encode.derived import OF_MOMENTS, SAME, Derivation, Name, agree, tolerance
from synth_engine.encode.number import decimal_places
from synth_engine.encode.table import PLAIN_TYPES
from synth_engine.model.evidence import CHUNK, FEWEST_ROWS, is_chance, is_no_chance, is_number, numbers_of, sample_of
from synth_engine.model.formulas import FEWEST_VALUES, find_formulas
from synth_engine.model.prepared import is_moment
from synth_engine.schema import Column, Kind
from synth_engine.schema.model import MODELLED_KINDS
from synth_engine.schema.types import base_type


def find_derivations(
    columns: Sequence[Column],
    unique: Collection[str],
    data: Mapping[str, pa.Array],
    repeated: Collection[str] = (),
    summed: Collection[str] = (),
) -> list[Derivation]:
    """The columns that follow from others of `columns` in every row, each after those it is computed from. None is in `unique` (values that
    must not repeat are made otherwise), `repeated` or `summed` (they follow from parents and children, but others may follow from them)."""
    rows = len(next(iter(data.values()))) if data else 0
    if rows < FEWEST_ROWS:
        return []
    some = sample_of(rows)
    own = [c for c in columns if c.name not in repeated]
    free = {c.name for c in own if c.name not in unique and c.name not in summed}
    restated = _copies(own, free, data, some)
    restated += _of_moments(_others(columns, restated), free, data, some)
    restated += _names_of_parts(_others(columns, restated), free, data, some)
    copies = [one for one in restated if one.is_copy]
    numbers = [c for c in _others(columns, copies) if c.name not in unique and is_number(c)]
    return restated + find_formulas(numbers, free - {one.column for one in restated}, summed, data, some)


def _others(columns: Sequence[Column], found: Sequence[Derivation]) -> list[Column]:
    gone = {one.column for one in found}
    return [c for c in columns if c.name not in gone]


def without(found: Sequence[Derivation], gone: Collection[str]) -> list[Derivation]:
    """Those that hang on none of the columns `gone`, directly or by way of others; what is only restated may."""
    kept: list[Derivation] = []
    gone = set(gone)
    for one in found:
        if one.is_restated or not gone.intersection((one.column, *one.operands)):
            kept.append(one)
        else:
            gone.add(one.column)
    return kept


def find_repeated(
    columns: Sequence[Column],
    unique: Collection[str],
    data: Mapping[str, pa.Array],
    parents: Mapping[int, tuple[NDArray[np.int64], Sequence[Column], Mapping[str, pa.Array]]],
) -> list[Derivation]:
    """The columns that repeat one of a parent's in every row, none of them in `unique`. For each key by which that is looked for `parents`
    has the parent's row number of every row (-1: none), and its columns with their values."""
    rows = len(next(iter(data.values()))) if data else 0
    some = sample_of(rows) if rows >= FEWEST_ROWS else np.zeros(0, np.int64)
    sampled = {c.name: data[c.name].take(pa.array(some)) for c in columns if c.name not in unique and c.kind in MODELLED_KINDS}
    found: dict[str, Derivation] = {}
    for key, (at, theirs, values) in parents.items():
        seen: dict[tuple[object, ...], list[str]] = {}
        for column in (c for c in theirs if c.kind in MODELLED_KINDS):
            known = _taken(values[column.name], at[some]).to_pylist()
            seen.setdefault((column.data_type, *known), []).append(column.name)
        families = len(np.unique(at[some]))
        for column in (c for c in columns if c.name in sampled and c.name not in found):
            for of in seen.get((column.data_type, *sampled[column.name].to_pylist()), ()):
                never_null = column.nullable or (bool((at >= 0).all()) and not values[of].null_count)
                if never_null and is_no_chance(sampled[column.name], families) and _taken(values[of], at).equals(data[column.name]):
                    found[column.name] = Derivation(column.name, SAME, (of,), key=key)
                    break
    return list(found.values())


def _taken(values: pa.Array, at: NDArray[np.int64]) -> pa.Array:
    """The values of parents, null where there is none."""
    return values.take(pa.array(at, mask=at < 0))


def _copies(columns: Sequence[Column], free: Collection[str], data: Mapping[str, pa.Array], some: NDArray[np.int64]) -> list[Derivation]:
    """Columns whose values are those of one before them; of that no value may be wanted otherwise."""
    seen: dict[tuple[object, ...], list[str]] = {}
    found: list[Derivation] = []
    for column in columns:
        if column.kind not in MODELLED_KINDS:
            continue
        sampled = data[column.name].take(pa.array(some))
        alike = seen.setdefault((column.data_type, column.kind, *sampled.to_pylist()), [])
        of = next((name for name in alike if data[name].equals(data[column.name])), None) if column.name in free else None
        if of is None:
            alike.append(column.name)
        elif is_no_chance(sampled, len(some)):
            found.append(Derivation(column.name, SAME, (of,)))
    return found


def _of_moments(
    columns: Sequence[Column], free: Collection[str], data: Mapping[str, pa.Array], some: NDArray[np.int64]
) -> list[Derivation]:
    """Numbers that are part of a date or time of their row, or the time between two."""
    taken = pa.array(some)
    moments = {c.name: c for c in columns if is_moment(c)}
    seconds = {name: seconds_of(data[name].take(taken), c.data_type) for name, c in moments.items()}
    numbers = [c for c in columns if c.name in free and is_number(c) and is_no_chance(data[c.name].take(taken), len(some))]
    if not moments or not numbers:
        return []
    values = {c.name: numbers_of(data[c.name].take(taken), c) for c in numbers}
    places = {name: decimal_places(found[np.isfinite(found)]) for name, found in values.items()}
    candidates: list[tuple[str, tuple[str, ...]]] = [(formula, (a,)) for formula in PARTS for a in moments]
    candidates += [(formula, pair) for formula in BETWEEN for pair in itertools.permutations(moments, 2)]
    found: dict[str, Derivation] = {}
    for formula, operands in candidates:
        expected = OF_MOMENTS[formula](*(seconds[name] for name in operands))
        for column in (c for c in numbers if c.name not in found):
            if formula in BETWEEN and len(np.unique(values[column.name])) < FEWEST_VALUES:
                continue
            one = Derivation(column.name, formula, operands, places=places[column.name])
            if agree(expected, values[column.name], _tolerance(one, column, values[column.name])).all() and _is_so(
                one, column, moments, data
            ):
                found[column.name] = one
    return list(found.values())


def _names_of_parts(
    columns: Sequence[Column], free: Collection[str], data: Mapping[str, pa.Array], some: NDArray[np.int64]
) -> list[Derivation]:
    """Categories that a part of a date or time of their row settles."""
    moments = [c for c in columns if is_moment(c)]
    categories = [
        c for c in columns if c.name in free and c.kind in (Kind.CATEGORY, Kind.BOOLEAN) and base_type(c.data_type) in PLAIN_TYPES
    ]
    found: dict[str, Derivation] = {}
    for column, moment, formula in itertools.product(categories, moments, NAMED):
        if column.name in found:
            continue
        for rows in (some, np.arange(len(data[column.name]))):
            part = PARTS[formula](seconds_of(data[moment.name].take(pa.array(rows)), moment.data_type))
            names = _names(part, data[column.name].take(pa.array(rows)))
            if not names:
                break
        else:
            found[column.name] = Derivation(column.name, formula, (moment.name,), places=0, names=names)
    return list(found.values())


def _names(part: Floats, values: pa.Array) -> tuple[tuple[int, Name], ...]:
    """The one value that goes with each part, with its number; nothing where more than one does or it could be by chance."""
    encoded = values.dictionary_encode()
    code = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    known = np.isfinite(part)
    if not np.array_equal(known, code >= 0) or known.sum() < FEWEST_ROWS:
        return ()
    number, code = part[known].astype(np.int64), code[known]
    numbers, first, place, counts = np.unique(number, return_index=True, return_inverse=True, return_counts=True)
    commonest = np.bincount(code).max() / len(code)
    if is_chance(int((counts - 1).sum()), float(commonest)) or not np.array_equal(code[first][place.reshape(-1)], code):
        return ()
    names = encoded.dictionary.take(pa.array(code[first])).to_pylist()
    return tuple(zip(numbers.tolist(), names, strict=True))


def _is_so(one: Derivation, column: Column, moments: Mapping[str, Column], data: Mapping[str, pa.Array]) -> bool:
    """Whether a formula of moments holds in all rows."""
    for start in range(0, len(data[column.name]), CHUNK):
        values = numbers_of(data[column.name].slice(start, CHUNK), column)
        operands = [seconds_of(data[name].slice(start, CHUNK), moments[name].data_type) for name in one.operands]
        if not one.holds(values, operands, _tolerance(one, column, values)):
            return False
    return True


def _tolerance(one: Derivation, column: Column, values: Floats) -> Floats:
    """How far a column's values may lie from a formula's."""
    return tolerance(values, one.places, base_type(column.data_type) == "float32")
