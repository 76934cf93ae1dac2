"""Numbers that follow from others of their row: the formulas, and columns that are computed by one instead of drawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.calendar import BETWEEN, PARTS
from synth_engine.encode.values import from_floats
from synth_engine.schema.types import to_arrow

Name = str | bool | int

SAME = "a"
"""The formula of a column that repeats another: of any type, not of numbers alone."""

MULTIPLE = "k * a"

HARDLY_MORE = 1e-6
"""How far beyond half a unit of its last decimal a rounded number may lie, in units: products of decimals are not exact as floats."""

EXACT, OF_ROUNDED = 1e-9, 1e-14
"""Relative error up to which numbers that are not rounded are equal, and of such that are: whole numbers differ however large they are."""


@dataclass(frozen=True)
class Form:
    """A formula of `operands` columns. `idle` are the values at which each of them changes nothing."""

    compute: Callable[..., Floats]
    idle: tuple[float, ...]
    is_sum: bool = False

    @property
    def operands(self) -> int:
        return len(self.idle)


def _divided(a: Floats, b: Floats) -> Floats:
    """Nothing where the divisor is 0."""
    found: Floats = np.divide(a, b, out=np.full(np.broadcast_shapes(a.shape, b.shape), np.nan), where=(b != 0) & np.isfinite(b))
    return found


FORMS: dict[str, Form] = {
    MULTIPLE: Form(lambda a: a, (np.nan,)),
    "a + b": Form(lambda a, b: a + b, (0, 0), is_sum=True),
    "a - b": Form(lambda a, b: a - b, (0, 0), is_sum=True),
    "a * b": Form(lambda a, b: a * b, (1, 1)),
    "a * (1 - b)": Form(lambda a, b: a * (1 - b), (1, 0)),
    "a * (1 + b)": Form(lambda a, b: a * (1 + b), (1, 0)),
    "a * (1 - b / 100)": Form(lambda a, b: a * (1 - b / 100), (1, 0)),
    "a * (1 + b / 100)": Form(lambda a, b: a * (1 + b / 100), (1, 0)),
    "a / b": Form(_divided, (1, 1)),
    "100 * a / b": Form(lambda a, b: 100 * _divided(a, b), (1, 1)),
    "a + b + c": Form(lambda a, b, c: a + b + c, (0, 0, 0), is_sum=True),
    "a + b - c": Form(lambda a, b, c: a + b - c, (0, 0, 0), is_sum=True),
    "a - b - c": Form(lambda a, b, c: a - b - c, (0, 0, 0), is_sum=True),
    "a * b + c": Form(lambda a, b, c: a * b + c, (1, 1, 0)),
    "a * b - c": Form(lambda a, b, c: a * b - c, (1, 1, 0)),
    "a * b * (1 - c)": Form(lambda a, b, c: a * b * (1 - c), (1, 1, 0)),
    "a * b * (1 - c / 100)": Form(lambda a, b, c: a * b * (1 - c / 100), (1, 1, 0)),
}
"""In the order of preference: what fewer columns tell is not told from more."""

OF_MOMENTS: dict[str, Callable[..., Floats]] = {**PARTS, **BETWEEN}
"""Formulas of moments."""


@dataclass(frozen=True)
class Derivation:
    """`column` is `formula` of the columns `operands`, times `factor`, rounded to so many decimal `places` (None: not at all); null
    where one of them is, or where it would be divided by 0. Values drawn outside of `bounds` are drawn again. Where there is a `key`, the
    number of a foreign key, it repeats a column of the row that this key refers to. Where there are `names`, each with the number it stands
    for, in the order of these, it is the name of what the formula gives (the month's, say), or of the next number before that has one."""

    column: str
    formula: str
    operands: tuple[str, ...]
    factor: float = 1.0
    places: int | None = None
    bounds: tuple[float, float] = (-np.inf, np.inf)
    key: int | None = None
    names: tuple[tuple[int, Name], ...] = ()

    @property
    def is_copy(self) -> bool:
        return self.formula == SAME

    @property
    def is_restated(self) -> bool:
        """Whether it says no more than single values do that stand beside it: a copy, a part of a date, the time between two moments."""
        return self.is_copy or self.formula in OF_MOMENTS

    def within(self, bounds: tuple[float, float]) -> Derivation:
        return replace(self, bounds=bounds)

    def compute(self, operands: Sequence[Floats]) -> Floats:
        """The column's values for values of its operands (moments in seconds), halves rounded away from zero as in SQL; NaN is null."""
        values = self.unrounded(operands)
        return values if self.places is None else rounded(values, self.places)

    def unrounded(self, operands: Sequence[Floats]) -> Floats:
        of_moments = OF_MOMENTS.get(self.formula)
        return of_moments(*operands) if of_moments else self.factor * FORMS[self.formula].compute(*operands)

    def column_of(self, operands: Sequence[Floats], data_type: str) -> pa.Array:
        """The column, in its Arrow type."""
        found = self.compute(operands)
        if not self.names:
            return from_floats(found, data_type)
        numbers, names = zip(*self.names, strict=True)
        place = np.maximum(np.searchsorted(numbers, np.nan_to_num(found), side="right") - 1, 0)
        return pa.array(names, to_arrow(data_type)).take(pa.array(place, mask=np.isnan(found)))

    def holds(self, values: Floats, operands: Sequence[Floats], tolerance: Floats | float) -> bool:
        """Whether the column is so in all rows."""
        return bool(agree(self.unrounded(operands), values, tolerance).all())

    def says(self, parents: Mapping[int, str] | None = None) -> str:
        """The formula in words, for people; `parents` are the names of the tables by key."""
        if self.is_copy:
            of = "" if self.key is None else f" of its row of {(parents or {}).get(self.key, 'a parent')}"
            return f"the same as {self.operands[0]}{of}"
        names = {"k": f"{self.factor:.12g}", **dict(zip("abc", self.operands, strict=False))}
        told = re.sub(r"\b[abck]\b", lambda found: names[str(found[0])], self.formula)
        if self.formula not in OF_MOMENTS:
            return f"computed as {told}"
        return f"settled by the {told}" if self.names else f"the {told}"

    def to_json(self) -> dict[str, Any]:
        told = {"column": self.column, "formula": self.formula, "operands": list(self.operands)}
        how = {"factor": self.factor, "places": self.places, "bounds": [_or_none(bound) for bound in self.bounds]}
        return {**told, **how, "key": self.key, "names": [list(name) for name in self.names]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Derivation:
        low, high = raw["bounds"]
        names = tuple((number, name) for number, name in raw["names"])
        bounds = -np.inf if low is None else low, np.inf if high is None else high
        return cls(raw["column"], raw["formula"], tuple(raw["operands"]), raw["factor"], raw["places"], bounds, raw["key"], names)


def rounded(values: Floats, places: int) -> Floats:
    scale = 10.0**places
    found: Floats = np.copysign(np.floor(np.abs(values) * scale + 0.5 + HARDLY_MORE), values) / scale + 0.0
    return found


def tolerance(values: Floats, places: int | None, is_single: bool) -> Floats:
    """How far from each value a formula's may lie. Numbers of single precision (`is_single`) are known to seven digits."""
    unit = 0.0 if places is None else (0.5 + HARDLY_MORE) / 10.0**places
    return unit + np.abs(values) * (1e-6 if is_single else EXACT if places is None else OF_ROUNDED)


def agree(expected: Floats, values: Floats, tolerance: Floats | float) -> NDArray[np.bool_]:
    """Whether values are as expected, missing ones included."""
    missing = np.isnan(expected), np.isnan(values)
    with np.errstate(invalid="ignore"):
        close = np.abs(expected - values) <= tolerance
    return np.where(missing[0] | missing[1], missing[0] & missing[1], close)


def _or_none(bound: float) -> float | None:
    return float(bound) if np.isfinite(bound) else None
