"""Which columns of a table follow from others of their row or of a parent: found in the data, where it holds in every row."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.derived import FORMS, MULTIPLE, SAME, Derivation, agree, tolerance
from synth_engine.encode.number import decimal_places
from synth_engine.encode.values import to_floats
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


def find_derivations(columns: Sequence[Column], unique: Collection[str], data: Mapping[str, pa.Array]) -> list[Derivation]:
    """The columns that follow from others of `columns` in every row, none of them in `unique` (values that must not repeat are made
    otherwise), each after those it is computed from."""
    rows = len(next(iter(data.values()))) if data else 0
    if rows < FEWEST_ROWS:
        return []
    some = sample_of(rows)
    free = [c for c in columns if c.name not in unique]
    copies = _copies(columns, {c.name for c in free}, data, some)
    repeated = {copy.column for copy in copies}
    numbers = [c for c in free if c.name not in repeated and _is_number(c)]
    return copies + _Search(numbers, data, some).run() if len(numbers) > 1 else copies


def without(found: Sequence[Derivation], gone: Collection[str]) -> list[Derivation]:
    """Those that hang on none of the columns `gone`, directly or by way of others; copies may."""
    kept: list[Derivation] = []
    gone = set(gone)
    for one in found:
        if one.is_copy or not gone.intersection((one.column, *one.operands)):
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

    def __init__(self, columns: Sequence[Column], data: Mapping[str, pa.Array], some: NDArray[np.int64]) -> None:
        self.columns, self.data = columns, data
        taken = pa.array(some)
        self.values = np.stack([to_floats(data[c.name].take(taken), c.data_type) for c in columns], axis=1)
        self.values[~np.isfinite(self.values)] = np.nan
        known = np.isfinite(self.values)
        self.places = [decimal_places(self.values[known[:, j], j]) if known[:, j].any() else 0 for j in range(len(columns))]
        self.tolerance = np.stack([self._tolerance(j, self.values[:, j]) for j in range(len(columns))], axis=1)
        levels = np.array([len(np.unique(self.values[known[:, j], j])) for j in range(len(columns))])
        self.usable = (known.sum(axis=0) >= FEWEST_ROWS) & (levels > 1)
        self.results = [j for j, c in enumerate(columns) if self.usable[j] and c.kind is not Kind.CATEGORY and levels[j] >= FEWEST_VALUES]
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
        column = self.columns[j]
        values = to_floats(self.data[column.name].slice(start, CHUNK), column.data_type)
        values[~np.isfinite(values)] = np.nan
        return values


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
