"""Formulas among the numbers of a row: which hold in every one."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.derived import FORMS, MULTIPLE, Derivation, agree, tolerance
from synth_engine.encode.number import decimal_places
from synth_engine.model.evidence import CHUNK, FEWEST_ROWS, numbers_of
from synth_engine.schema import Column, Kind
from synth_engine.schema.types import base_type

PROBES, FIRST_PROBES = 24, 4
"""Rows on which a formula is tried before it is on some, and on which first."""

FEWEST_TOLD, FEWEST_VALUES = 10, 5
"""Rows in which each of its columns must make a difference, and different values the result must have."""

MOST_OF_THREE = 24
"""Columns of numbers up to which formulas of three are looked for."""

FEWER = 0.5
"""Different values a quotient must have, relative to those of what it is computed from: a rate of a few values is no result of two
amounts."""

LARGEST = 0.5
"""Spread that a sum must have, relative to the largest of what it is computed from: a small difference of large numbers would be all
error."""


def find_formulas(
    columns: Sequence[Column], free: Collection[str], exact: Collection[str], data: Mapping[str, pa.Array], some: NDArray[np.int64]
) -> list[Derivation]:
    """The numbers among `free` that are computed from others of `columns` in all rows, tried on `some` of them first; each after those that
    it is computed from. `exact` are those that are not drawn, of which small differences are no error."""
    return _Search(columns, free, exact, data, some).run() if len(columns) > 1 else []


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

    def __init__(
        self,
        columns: Sequence[Column],
        free: Collection[str],
        exact: Collection[str],
        data: Mapping[str, pa.Array],
        some: NDArray[np.int64],
    ) -> None:
        self.columns, self.data = columns, data
        self.exact = {j for j, c in enumerate(columns) if c.name in exact}
        taken = pa.array(some)
        self.values = np.stack([numbers_of(data[c.name].take(taken), c) for c in columns], axis=1)
        known = np.isfinite(self.values)
        self.places = [decimal_places(self.values[known[:, j], j]) if known[:, j].any() else 0 for j in range(len(columns))]
        self.tolerance = np.stack([self._tolerance(j, self.values[:, j]) for j in range(len(columns))], axis=1)
        self.levels = levels = np.array([len(np.unique(self.values[known[:, j], j])) for j in range(len(columns))])
        unlike = known & (self.values != _commonest(self.values))
        probes = _telling(unlike)
        self.probes, self.probe_tolerance = self.values[probes], self.tolerance[probes]
        self.usable = (known.sum(axis=0) >= FEWEST_ROWS) & (levels > 1) & unlike[probes].any(axis=0)  # else it agrees with anything there
        numbers = [j for j, c in enumerate(columns) if c.name in free and c.kind is not Kind.CATEGORY]
        self.results = [j for j in numbers if self.usable[j] and levels[j] >= FEWEST_VALUES]
        self.spread = np.array([np.nanstd(self.values[:, j]) if known[:, j].any() else 0.0 for j in range(len(columns))])

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
        """What comes first: simple formulas (a + b is no simpler than a - b), multiples that are told finely by short factors, then results
        of the largest spread, and the last columns."""
        form, names = FORMS[one.formula], list(FORMS)
        alike = [name for name in names if (FORMS[name].is_sum, FORMS[name].operands) == (form.is_sum, form.operands)]
        rank = names.index(alike[0] if form.is_sum else one.formula)
        places = self.places[one.column]
        finely = 0 if one.formula != MULTIPLE else -np.inf if places is None else -places
        return (rank, finely, len(f"{one.factor:.12g}"), -self.spread[one.column], -one.column, *one.operands)

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
        results = np.array(self.results)
        first = np.s_[:FIRST_PROBES]
        same = agree(expected[first, :, None], self.probes[first, None, results], self.probe_tolerance[first, None, results]).all(axis=0)
        place, at = (found if expected.shape[1] else found[:0] for found in np.nonzero(same))
        column = results[at]
        held = agree(expected[:, place], self.probes[:, column], self.probe_tolerance[:, column]).all(axis=0)
        yield from zip(place[held].tolist(), column[held].tolist(), strict=True)

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
        if "/ b" in one.formula and self.levels[one.column] < FEWER * max(self.levels[j] for j in one.operands):
            return False
        drawn = not self.exact.issuperset(one.operands)
        if form.is_sum and drawn and self.spread[one.column] < LARGEST * max(self.spread[j] for j in one.operands):
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
        return numbers_of(self.data[self.columns[j].name].slice(start, CHUNK), self.columns[j])


def _commonest(values: Floats) -> Floats:
    """The commonest number of each column, NaN where there is none."""
    found = np.full(values.shape[1], np.nan)
    for j, column in enumerate(values.T):
        distinct, counts = np.unique(column[np.isfinite(column)], return_counts=True)
        if len(distinct):
            found[j] = distinct[counts.argmax()]
    return found


def _telling(unlike: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A handful of rows in which together every column is `unlike` its commonest value, as far as it is: most are zero in most rows."""
    chosen: list[int] = []
    covered = np.zeros(unlike.shape[1])
    left = np.ones(len(unlike), np.bool_)
    for _ in range(min(PROBES, len(unlike))):
        gain = np.where(left, unlike @ (1.0 / (1.0 + covered) ** 2), -1.0)
        best = int(gain.argmax())
        left[best] = False
        chosen.append(best)
        covered += unlike[best]
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
