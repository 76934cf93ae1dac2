"""Which columns of a table follow from others of their row or of a parent: found in the data, where it holds in every row."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.calendar import BETWEEN, NAMED, PARTS, seconds_of
from synth_engine.encode.derived import FORMS, MULTIPLE, OF_MOMENTS, SAME, Derivation, Name, agree, tolerance
from synth_engine.encode.number import decimal_places
from synth_engine.encode.table import PLAIN_TYPES
from synth_engine.encode.values import to_floats
from synth_engine.model.prepared import is_moment
from synth_engine.randomness import uniforms
from synth_engine.schema import Column, Kind
from synth_engine.schema.model import MODELLED_KINDS
from synth_engine.schema.types import NUMBER_TYPES, base_type

MOST_COMPARED, PROBES = 2_000, 24
"""Rows of which a formula is tried before it is on all, and of which before that on."""

FEWEST_ROWS, FEWEST_TOLD, FEWEST_VALUES = 20, 10, 5
"""Rows in which all columns must have values for a formula to be believed, rows in which each of them must make a difference, and
different values the result must have: what holds in fewer may do so by chance."""

MOST_OF_THREE = 24
"""Columns of numbers up to which formulas of three are looked for."""

CHANCE = 1e-9
"""Probability below which columns are not equal by chance."""

CHUNK = 500_000
"""Rows a formula is tried on at a time."""

LARGEST = 0.5
"""Spread that a sum must have, relative to the largest of what it is computed from: a small difference of large numbers would be all
error."""


def find_derivations(
    columns: Sequence[Column], unique: Collection[str], data: Mapping[str, pa.Array], repeated: Collection[str] = ()
) -> list[Derivation]:
    """The columns that follow from others of `columns` in every row, each after those it is computed from. None is in `unique` (values that
    must not repeat are made otherwise) nor in `repeated` (they follow from a parent, but others may be computed from them)."""
    rows = len(next(iter(data.values()))) if data else 0
    if rows < FEWEST_ROWS:
        return []
    some = sample_of(rows)
    own = [c for c in columns if c.name not in repeated]
    free = {c.name for c in own if c.name not in unique}
    restated = _copies(own, free, data, some)
    restated += _of_moments(_others(own, restated), free, data, some)
    restated += _names_of_parts(_others(own, restated), free, data, some)
    numbers = [c for c in _others(columns, restated) if c.name not in unique and _is_number(c)]
    return restated + _Search(numbers, free, data, some).run() if len(numbers) > 1 else restated


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


def _is_number(column: Column) -> bool:
    return base_type(column.data_type) in NUMBER_TYPES and column.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.CATEGORY)


def sample_of(rows: int) -> NDArray[np.int64]:
    """Rows to try on what is to hold in all of so many."""
    if rows <= MOST_COMPARED:
        return np.arange(rows)
    return np.unique((uniforms(0, np.arange(MOST_COMPARED)) * rows).astype(np.int64))


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
                if never_null and _is_no_chance(sampled[column.name], families) and _taken(values[of], at).equals(data[column.name]):
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
        elif _is_no_chance(sampled, len(some)):
            found.append(Derivation(column.name, SAME, (of,)))
    return found


def _of_moments(
    columns: Sequence[Column], free: Collection[str], data: Mapping[str, pa.Array], some: NDArray[np.int64]
) -> list[Derivation]:
    """Numbers that are part of a date or time of their row, or the time between two."""
    taken = pa.array(some)
    moments = {c.name: c for c in columns if is_moment(c)}
    seconds = {name: seconds_of(data[name].take(taken), c.data_type) for name, c in moments.items()}
    numbers = [c for c in columns if c.name in free and _is_number(c) and _is_no_chance(data[c.name].take(taken), len(some))]
    if not moments or not numbers:
        return []
    values = {c.name: _finite(data[c.name].take(taken), c) for c in numbers}
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
    by_chance = (counts - 1).sum() * np.log(commonest) > np.log(CHANCE)
    if by_chance or not np.array_equal(code[first][place.reshape(-1)], code):
        return ()
    names = encoded.dictionary.take(pa.array(code[first])).to_pylist()
    return tuple(zip(numbers.tolist(), names, strict=True))


def _is_so(one: Derivation, column: Column, moments: Mapping[str, Column], data: Mapping[str, pa.Array]) -> bool:
    """Whether a formula of moments holds in all rows."""
    for start in range(0, len(data[column.name]), CHUNK):
        values = _finite(data[column.name].slice(start, CHUNK), column)
        operands = [seconds_of(data[name].slice(start, CHUNK), moments[name].data_type) for name in one.operands]
        if not one.holds(values, operands, _tolerance(one, column, values)):
            return False
    return True


def _tolerance(one: Derivation, column: Column, values: Floats) -> Floats:
    """How far a column's values may lie from a formula's."""
    return tolerance(values, one.places, base_type(column.data_type) == "float32")


def _finite(values: pa.Array, column: Column) -> Floats:
    found = to_floats(values, column.data_type)
    found[~np.isfinite(found)] = np.nan
    return found


def _is_no_chance(sampled: pa.Array, times: int) -> bool:
    """Whether values agree with others of the same shares so many times as they would not by chance."""
    known = sampled.drop_null()
    if len(known) < FEWEST_ROWS:
        return False
    shares = np.r_[known.value_counts().field("counts").to_numpy(), sampled.null_count] / len(sampled)
    return bool(times * np.log(np.square(shares).sum()) < np.log(CHANCE))


@dataclass(frozen=True)
class _Candidate:
    """A formula that may hold: numbers of the columns, and the factor."""

    formula: str
    column: int
    operands: tuple[int, ...]
    factor: float = 1.0

    @property
    def columns(self) -> frozenset[int]:
        return frozenset((self.column, *self.operands))


class _Search:
    """Formulas among numbers. Tried on a handful of rows each, then on some, then on all."""

    def __init__(self, columns: Sequence[Column], free: Collection[str], data: Mapping[str, pa.Array], some: NDArray[np.int64]) -> None:
        self.columns, self.data = columns, data
        taken = pa.array(some)
        self.values = np.stack([_finite(data[c.name].take(taken), c) for c in columns], axis=1)
        known = np.isfinite(self.values)
        self.places = [decimal_places(self.values[known[:, j], j]) if known[:, j].any() else 0 for j in range(len(columns))]
        self.tolerance = np.stack([self._tolerance(j, self.values[:, j]) for j in range(len(columns))], axis=1)
        levels = np.array([len(np.unique(self.values[known[:, j], j])) for j in range(len(columns))])
        self.usable = (known.sum(axis=0) >= FEWEST_ROWS) & (levels > 1)
        numbers = [j for j, c in enumerate(columns) if c.name in free and c.kind is not Kind.CATEGORY]
        self.results = [j for j in numbers if self.usable[j] and levels[j] >= FEWEST_VALUES]
        self.spread = np.array([np.nanstd(self.values[:, j]) if known[:, j].any() else 0.0 for j in range(len(columns))])
        probes = _telling(known)
        self.probes, self.probe_tolerance = self.values[probes], self.tolerance[probes]

    def run(self) -> list[Derivation]:
        """What holds in all rows, each column once; what is computed from others comes after them."""
        hopeful = sorted(filter(self._holds_in_some, self._candidates()), key=self._preference)
        found: dict[int, Derivation] = {}
        operands: dict[int, frozenset[int]] = {}
        told: set[frozenset[int]] = set()
        for one in hopeful:
            below = frozenset(one.operands).union(*(operands.get(j, frozenset()) for j in one.operands))
            if one.column in found or one.column in below or one.columns in told or not self._holds_in_all(one):
                continue
            told.add(one.columns)
            found[one.column], operands[one.column] = self._derivation(one), below
            for other in operands:
                if one.column in operands[other]:
                    operands[other] |= below
        return [found[j] for j in sorted(found, key=lambda j: (len(operands[j] & found.keys()), j))]

    def _preference(self, one: _Candidate) -> tuple[float, ...]:
        """What comes first: simple formulas, short factors, then the results of the largest spread, and the last columns."""
        return (list(FORMS).index(one.formula), len(f"{one.factor:.12g}"), -self.spread[one.column], -one.column, *one.operands)

    def _derivation(self, one: _Candidate) -> Derivation:
        names = tuple(self.columns[j].name for j in one.operands)
        return Derivation(self.columns[one.column].name, one.formula, names, one.factor, self.places[one.column])

    def _tolerance(self, j: int, values: Floats) -> Floats:
        return tolerance(values, self.places[j], base_type(self.columns[j].data_type) == "float32")

    def _candidates(self) -> Iterator[_Candidate]:
        usable = [j for j in range(len(self.columns)) if self.usable[j]]
        if len(usable) < 2 or not self.results:
            return
        yield from self._multiples(usable)
        for formula, form in FORMS.items():
            if form.operands == 2:
                for a in usable:
                    yield from self._of_two(formula, a, np.array(usable))
            elif form.operands == 3 and len(usable) <= MOST_OF_THREE:
                for a, b in itertools.permutations(usable, 2):
                    if a < b or formula == "a - b - c":
                        yield from self._of_three(formula, a, b, np.array(usable))

    def _multiples(self, usable: Sequence[int]) -> Iterator[_Candidate]:
        for a, column in itertools.product(usable, self.results):
            factor = _factor(self.probes[:, a], self.probes[:, column], self.probe_tolerance[:, column]) if a != column else None
            if factor is not None:  # of so few rows it may be too rough
                factor = _factor(self.values[:, a], self.values[:, column], self.tolerance[:, column])
            if factor is not None:
                yield _Candidate(MULTIPLE, column, (a,), factor)

    def _of_two(self, formula: str, a: int, others: NDArray[np.int64]) -> Iterator[_Candidate]:
        others = others[others > a] if formula in ("a + b", "a * b") else others[others != a]
        expected = FORMS[formula].compute(self.probes[:, a][:, None], self.probes[:, others])
        for place, column in self._matching(expected):
            if column not in (a, others[place]):
                yield _Candidate(formula, column, (a, int(others[place])))

    def _of_three(self, formula: str, a: int, b: int, others: NDArray[np.int64]) -> Iterator[_Candidate]:
        others = others[others > b] if formula in ("a + b + c", "a - b - c") else others
        others = others[(others != a) & (others != b)]
        expected = FORMS[formula].compute(self.probes[:, a][:, None], self.probes[:, b][:, None], self.probes[:, others])
        for place, column in self._matching(expected):
            if column not in (a, b, others[place]):
                yield _Candidate(formula, column, (a, b, int(others[place])))

    def _matching(self, expected: Floats) -> Iterator[tuple[int, int]]:
        """Which of the formulas that give `expected`, shape (probes, formulas), give which result."""
        if expected.shape[1]:
            results = np.array(self.results)
            same = agree(expected[:, :, None], self.probes[:, None, results], self.probe_tolerance[:, None, results]).all(axis=0)
            for place, at in zip(*np.nonzero(same), strict=True):
                yield int(place), int(results[at])

    def _holds_in_some(self, one: _Candidate) -> bool:
        """Whether it holds in the sampled rows, in enough of them, and each column makes a difference."""
        values, form = self.values[:, one.column], FORMS[one.formula]
        operands = [self.values[:, j] for j in one.operands]
        found = self._derivation(one)
        if not found.holds(values, operands, self.tolerance[:, one.column]):
            return False
        known = np.isfinite(values)
        if known.sum() < FEWEST_ROWS or len(np.unique(values[known])) < FEWEST_VALUES:
            return False
        if form.is_sum and self.spread[one.column] < LARGEST * max(self.spread[j] for j in one.operands):
            return False
        for place, idle in enumerate(form.idle):
            less = [np.full(len(values), idle) if i == place else operand for i, operand in enumerate(operands)]
            off = ~agree(one.factor * form.compute(*less), values, self.tolerance[:, one.column])
            if (off & known).sum() < FEWEST_TOLD:
                return False
        return True

    def _holds_in_all(self, one: _Candidate) -> bool:
        found, rows = self._derivation(one), len(self.data[self.columns[one.column].name])
        for start in range(0, rows, CHUNK):
            values = self._part(one.column, start)
            if not found.holds(values, [self._part(j, start) for j in one.operands], self._tolerance(one.column, values)):
                return False
        return True

    def _part(self, j: int, start: int) -> Floats:
        return _finite(self.data[self.columns[j].name].slice(start, CHUNK), self.columns[j])


def _telling(known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A handful of rows in which together every column is `known`, as far as it is."""
    chosen: list[int] = []
    covered = np.zeros(known.shape[1])
    left = np.ones(len(known), np.bool_)
    for _ in range(min(PROBES, len(known))):
        gain = np.where(left, known @ (1.0 / (1.0 + covered) ** 2), -1.0)
        best = int(gain.argmax())
        left[best] = False
        chosen.append(best)
        covered += known[best]
    return np.array(chosen)


def _factor(a: Floats, values: Floats, tolerance: Floats) -> float | None:
    """The shortest number k of which `values` are k * a in all rows, None where there is none or it would be nothing."""
    missing = np.isnan(a), np.isnan(values)
    if (missing[0] != missing[1]).any() or missing[0].all():
        return None
    known = ~missing[0]
    a, values, tolerance = a[known], values[known], tolerance[known]
    if (np.abs(values[a == 0]) > tolerance[a == 0]).any() or not a.any():
        return None
    a, values, tolerance = (side[a != 0] for side in (a, values, tolerance))
    ends = np.sort(np.stack([(values - tolerance) / a, (values + tolerance) / a]), axis=0)
    low, high = float(ends[0].max()), float(ends[1].min())
    if low > high or low <= 0 <= high:
        return None
    for places in range(13):
        shortest = float(np.ceil(low * 10.0**places) / 10.0**places)
        if shortest <= high:
            return shortest
    return (low + high) / 2
