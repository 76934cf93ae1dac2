"""Moments and numbers told as a step from something known before them: the previous sibling's value, or a moment of a parent.

The order of the two can then not break, and a sequence cannot jump about. A row whose references are all missing
falls back to the absolute coder, by a token of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, EncodingSettings, Floats, Tokens
from synth_engine.encode.level import LevelCoder
from synth_engine.encode.moment import DAY, MomentCoder, unit_of
from synth_engine.encode.number import NumberCoder, decimal_places
from synth_engine.schema.types import MOMENT_TYPES, base_type

NULL, ABSOLUTE, FIRST_STEP = 0, 1, 2

FINEST_PACE, PACES_PER_OCTAVE = 1.0, 2
"""Paces are told on a grid of powers of two that begins at a second, and is the same for any data."""

LONG_WAY, NEAR = 16, 4
"""Siblings to come, on average over rows, from which on numbers have goals: where fewer come, the network remembers what came before.
And siblings to come of a row below which its pace is not told: it would be the step itself, and goals are about."""


@dataclass(frozen=True)
class Reference:
    """Where a step starts from. `source` is `previous` (the previous sibling's value of the same column), `row` (the value of another
    `column` of the row) or `parent`, then `key` is the index of the foreign key and `column` the parent's column."""

    source: str
    key: int = -1
    column: str = ""


@dataclass
class Stepper:
    """Steps from one reference: whole days (time of day apart) or, for short steps, in seconds."""

    reference: Reference
    coder: NumberCoder
    in_days: bool
    side: int
    """1 where no real step goes back, -1 where none goes on, else 0."""

    def to_json(self) -> dict[str, Any]:
        return {
            "reference": [self.reference.source, self.reference.key, self.reference.column],
            "coder": self.coder.to_json(),
            "in_days": self.in_days,
            "side": self.side,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Stepper:
        return cls(Reference(*raw["reference"]), NumberCoder.from_json(raw["coder"]), raw["in_days"], raw["side"])


@dataclass(frozen=True)
class Goals:
    """What the sequences of a column come to: for each row the value (NaN: unknown), and whether it is the `first` of its sequence."""

    values: Floats
    first: NDArray[np.bool_]

    @classmethod
    def of(cls, values: Floats, later: NDArray[np.int64]) -> Goals:
        """The last value of each sequence that is known; of those whose first one is not, none is. Rows of a sequence stand together, so
        many siblings come `later`."""
        first = np.r_[True, later[:-1] == 0][: len(later)]
        starts = np.flatnonzero(first)
        known = np.isfinite(values)
        last = np.maximum.reduceat(np.where(known, np.arange(len(values)), -1), starts) if len(starts) else starts
        ends = np.where(known[starts], values[np.maximum(last, 0)], np.nan)
        return cls(np.repeat(ends, np.diff(np.r_[starts, len(values)])), first)

    def part(self, rows: slice) -> Goals:
        return Goals(self.values[rows], self.first[rows])

    def mean_steps(self, values: Floats, base: Floats, later: NDArray[np.int64]) -> Floats:
        """See `_mean_steps`: first rows start from their own value, all others from that of the one before, `base`."""
        return _mean_steps(self.values, np.where(self.first, values, base), later, ~self.first)


class RelativeEncoder:
    """First slot: null, absolute, or a step token of one of the `steppers`, the first of which has a reference is used.
    The other slots are the absolute coder's: drawn where the row is absolute, else following from the step (all of
    them for steps in seconds, the day alone for steps in days).

    In sequences of moments, and in long ones of numbers, a slot stands before them that follows from what came before: the pace, what is
    left until the end for each sibling to come. Of moments the end is that of the column's range: without it long sequences would run
    late, and crowd there. Of numbers it is the value of the last sibling, the goal: without it paths would wander about where they began.
    The first sibling draws the pace, and by it sets the goal of all others."""

    tag = "relative"

    def __init__(
        self,
        absolute: MomentCoder | LevelCoder,
        steppers: Sequence[Stepper],
        data_type: str,
        sides: Sequence[int],
        starts: Sequence[NDArray[np.bool_]],
        has_nulls: bool,
        paces: tuple[int, int] | None = None,
        pacer: NumberCoder | None = None,
    ) -> None:
        """`sides` tells for each reference on which side of it all values are (see `Stepper.side`), whether or not they are told from it;
        `starts` for each of the absolute coder's slots the tokens that rows without a reference may have: there may
        be few such rows (a series has one), too few to learn from what is usual at all other rows. `paces` are the fastest and the
        slowest pace of moments that several entities have, as points of the grid; None out of sequences. `pacer` tells the paces
        of numbers that have goals."""
        self.absolute, self.steppers, self.data_type = absolute, list(steppers), data_type
        self.sides, self.starts = list(sides), list(starts)
        self.has_nulls, self.paces, self.pacer = has_nulls, paces, pacer
        paced = [2 + paces[1] - paces[0]] if paces else [1 + pacer.size] if pacer else []
        self.lead = len(paced)
        """Number of the first slot after the pace."""
        self.slots = [*paced, FIRST_STEP + sum(s.coder.size for s in self.steppers), *absolute.slots]

    @classmethod
    def fit(
        cls,
        values: Floats,
        references: Sequence[tuple[Reference, Floats]],
        entity: NDArray[np.int64],
        settings: EncodingSettings,
        data_type: str,
        later: NDArray[np.int64] | None = None,
    ) -> RelativeEncoder:
        """`references` in order of preference, each with its value for every row (NaN where there is none). `later` is how many
        siblings come after each row, None where rows are in no sequence."""
        known = np.isfinite(values)
        is_moment = base_type(data_type) in MOMENT_TYPES
        fitted = values[known], entity[known], settings
        absolute = MomentCoder.fit(*fitted, unit_of(data_type)) if is_moment else LevelCoder.fit(*fitted)
        steppers, free = [], known.copy()
        for reference, base in references:
            rows = free & np.isfinite(base)
            steppers.append(
                _stepper(reference, values[rows], base[rows], entity[rows], settings, unit_of(data_type) if is_moment else None)
            )
            free &= ~rows
        sides = [
            0 if reference.source == "previous" else _side((values - base)[known & np.isfinite(base)])  # siblings were sorted
            for reference, base in references
        ]
        in_sequence = any(reference.source == "previous" for reference, _ in references)
        told = in_sequence or len(np.unique(entity[free])) >= settings.rare_entities  # a series may have one start only
        starts = _seen(absolute, values[free] if told else values[:0])
        has_nulls = not bool(known.all())
        leads = bool(references) and references[0][0].source == "previous" and steppers[0].coder.size > 0
        pacer = None
        if not is_moment and leads and later is not None and float(later.mean()) >= LONG_WAY:
            pacer = _pacer(values, references[0][1], entity, settings, later)
        found = cls(absolute, steppers, data_type, sides, starts, has_nulls, pacer=pacer)
        if is_moment and in_sequence and later is not None:
            points = found._grid_points(found.choose([base for _, base in references], len(values))[1], later)
            paced = known & np.isfinite(points)
            if paced.any():
                paces = _common_range(points[paced], entity[paced], settings.extreme_entities)
                found = cls(absolute, steppers, data_type, sides, starts, has_nulls, paces)
        return found

    def in_order(self, values: Floats, references: Sequence[Floats]) -> Floats:
        """The values, none of them on the other side of a reference than real ones are, whichever the step was told from."""
        for side, base in zip(self.sides, references, strict=True):
            values = self._on_its_side(values, base, side)
        return values

    def _on_its_side(self, values: Floats, base: Floats, side: int) -> Floats:
        """Values that are on the wrong side of the reference's moved to it, or to the next one beyond it that the column can have."""
        wrong = np.flatnonzero(np.isfinite(base) & ((values - base) * side < 0))
        if not len(wrong):
            return values
        values = values.copy()
        values[wrong] = self.absolute.beside(base[wrong], side)
        return values

    def positions(self) -> list[Floats | None]:
        """Order of the tokens of each slot (see `Encoder.positions`)."""
        steps = [s.coder.positions() for s in self.steppers]
        leading: list[Floats | None] = [np.r_[np.nan, np.linspace(0, 1, self.slots[0] - 1)]] if self.paces else []
        if self.pacer:
            leading = [np.r_[np.nan, self.pacer.positions()]]
        return [*leading, np.concatenate([np.full(FIRST_STEP, np.nan), *steps]), *self.absolute.positions()]

    def choose(self, references: Sequence[Floats], rows: int) -> tuple[NDArray[np.int64], Floats]:
        """For each of the `rows` the stepper that applies (-1: none, absolute) and its reference's value."""
        which, base = np.full(rows, -1, dtype=np.int64), np.full(rows, np.nan)
        for i, values in enumerate(references):
            take = (which < 0) & np.isfinite(values)
            which[take], base[take] = i, values[take]
        return which, base

    def encode(
        self, values: Floats, references: Sequence[Floats], later: NDArray[np.int64] | None = None, goals: Goals | None = None
    ) -> tuple[Tokens, NDArray[np.bool_]]:
        """Tokens, and which of them the model has to learn (the others follow from those). `later` is that of `fit`; `goals` are wanted
        where there is a `pacer`."""
        which, base = self.choose(references, len(values))
        known = np.isfinite(values)
        tokens = np.zeros((len(values), len(self.slots)), dtype=np.int32)
        learn = np.ones(tokens.shape, dtype=np.bool_)
        if self.paces:
            tokens[:, 0], learn[:, 0] = self.pace(base, later), False
        if self.pacer:
            assert later is not None and goals is not None
            tokens[:, 0] = self._paces(goals.mean_steps(values, base, later))
            learn[:, 0] = goals.first
        self.tell(tokens, which, base, values)
        learn[~known, self.lead + 1 :] = False
        for i, stepper in enumerate(self.steppers):
            rows = known & (which == i)
            if rows.any():
                learn[np.ix_(rows, self._following(stepper))] = False
        return tokens, learn

    def tell(self, tokens: Tokens, which: NDArray[np.int64], base: Floats, values: Floats) -> None:
        """Fill in, in place, the slots after the pace of rows with these values, as they are told from the references' `base`."""
        known, at = np.isfinite(values), self.lead
        if known.any():
            tokens[known, at + 1 :] = self.absolute.encode(values[known])
        tokens[known, at] = ABSOLUTE
        offset = FIRST_STEP
        for i, stepper in enumerate(self.steppers):
            rows = known & (which == i)
            if rows.any() and stepper.coder.size:
                tokens[rows, at] = offset + stepper.coder.encode(self._step(stepper, values[rows], base[rows]))
            offset += stepper.coder.size

    def pace(self, base: Floats, later: NDArray[np.int64] | None) -> NDArray[np.int32]:
        """Token of the pace of moments for rows with these references' values and so many siblings to come; 0 where either is unknown."""
        if self.paces is None or later is None:
            return np.zeros(len(base), dtype=np.int32)
        points = np.clip(self._grid_points(base, later), *self.paces)
        return np.where(np.isfinite(points), np.nan_to_num(points) - self.paces[0] + 1, 0).astype(np.int32)

    def pace_to(self, goals: Floats, base: Floats, later: NDArray[np.int64]) -> NDArray[np.int32]:
        """Token of the pace of numbers for rows with these references' values, who are to come to these goals; 0 where either is unknown,
        or few siblings are to come."""
        return self._paces(_mean_steps(goals, base, later, np.ones(len(goals), np.bool_)))

    def allowed_pace(self, later: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which tokens of the pace a first sibling may draw if so many are to come, shape (rows, tokens): unknown it is only where it is
        not told or the value may be null."""
        told = (later >= NEAR)[:, None]
        mask = np.repeat(told, self.slots[0], axis=1)
        mask[:, :1] = ~told | self.has_nulls
        return mask

    def goals(self, values: Floats, paces: NDArray[np.int32], later: NDArray[np.int64], draw: Draw) -> Floats:
        """Where the siblings to come arrive from these values of first ones at paces with these tokens; NaN where either is unknown."""
        assert self.pacer is not None
        step = self.pacer.decode(np.maximum(paces - 1, 0), draw.uniform(4))
        return np.where(paces > 0, np.clip(values + step * later, *self.absolute.bounds()), np.nan)

    def _paces(self, steps: Floats) -> NDArray[np.int32]:
        assert self.pacer is not None
        known, tokens = np.isfinite(steps), np.zeros(len(steps), dtype=np.int32)
        tokens[known] = 1 + self.pacer.encode(steps[known])
        return tokens

    def _grid_points(self, base: Floats, later: NDArray[np.int64]) -> Floats:
        """The grid point nearest to each row's pace; NaN without a reference."""
        seconds = np.maximum(self.absolute.bounds()[1] - base, 0.0) / (later + 1) * (DAY / self.absolute.unit)
        points: Floats = np.round(PACES_PER_OCTAVE * np.log2(np.maximum(seconds, FINEST_PACE)))
        return points

    def allowed(self, which: NDArray[np.int64], base: Floats, later: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Which tokens of the first slot after the pace a row may have, shape (rows, tokens): those of the stepper that applies to it
        that can lead into the column's range. From steps alone a sequence would in time walk out of it. `later` tells how many
        siblings are to come: the shortest step must leave room for each."""
        mask = np.zeros((len(which), self.slots[self.lead]), dtype=np.bool_)
        mask[:, NULL] = True
        mask[which < 0, ABSOLUTE] = True
        offset = FIRST_STEP
        for i, stepper in enumerate(self.steppers):
            rows = which == i
            if stepper.coder.size:
                mask[rows, offset : offset + stepper.coder.size] = self._leads_inside(
                    stepper, base[rows], None if later is None else later[rows]
                )
            mask[rows, ABSOLUTE] = stepper.coder.size == 0
            offset += stepper.coder.size
        return mask

    def allowed_start(self, slot: int, which: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which tokens of the absolute coder's slot number `slot` a row may have, shape (rows, tokens)."""
        return self.starts[slot] | (which >= 0)[:, None]

    def decode(self, tokens: Tokens, which: NDArray[np.int64], base: Floats, draw: Draw, later: NDArray[np.int64] | None = None) -> Floats:
        """Values of the rows; NaN is null. `later` is that of `allowed`."""
        tokens = tokens[:, self.lead :]
        values = self.absolute.decode(tokens[:, 1:], draw)
        offset = FIRST_STEP
        for i, stepper in enumerate(self.steppers):
            rows = (which == i) & (tokens[:, 0] >= FIRST_STEP)
            if rows.any():
                steps = tokens[rows, 0] - offset
                rest = None if later is None else later[rows]
                step = self._inside(stepper, stepper.coder.decode(steps, draw.uniform(3)[rows]), steps, base[rows], rest)
                values[rows] = self._arrive(stepper, step, base[rows], tokens[rows], draw.of(rows))
            offset += stepper.coder.size
        values[tokens[:, 0] == NULL] = np.nan
        return values

    def follow(self, tokens: Tokens, which: NDArray[np.int64], values: Floats) -> None:
        """Fill in, in place, the slots that follow from the decoded values."""
        known = np.isfinite(values)
        if not known.any():
            return
        first = self.lead + 1
        absolute = np.zeros((len(values), len(self.slots) - first), dtype=np.int32)
        absolute[known] = self.absolute.encode(values[known])
        tokens[~known, first:] = 0
        for i, stepper in enumerate(self.steppers):
            rows = np.flatnonzero(known & (which == i))
            slots = np.array(self._following(stepper))
            tokens[np.ix_(rows, slots)] = absolute[np.ix_(rows, slots - first)]

    def _following(self, stepper: Stepper) -> list[int]:
        first = self.lead + 1
        return list(range(first, first + self.absolute.day_slots if stepper.in_days else len(self.slots)))

    def _step(self, stepper: Stepper, values: Floats, base: Floats) -> Floats:
        if not stepper.in_days:
            return values - base
        return np.floor(values / self.absolute.unit) - np.floor(base / self.absolute.unit)

    def _feasible(self, stepper: Stepper, base: Floats, later: NDArray[np.int64] | None) -> tuple[Floats, Floats]:
        """Shortest and longest step from each reference's value that ends inside the column's range, and leaves the siblings to come
        their shortest."""
        first, last = self.absolute.bounds()
        reserve, unit = (0.0 if later is None else later * self._shortest_step()), self.absolute.unit
        if stepper.in_days:
            day = np.floor(base / unit)
            return np.floor(first / unit) - day, np.floor(last / unit) - day - np.ceil(reserve / unit)
        return first - base, last - base - reserve

    def _shortest_step(self) -> float:
        """The least that lies between siblings, 0 if they may coincide."""
        for stepper in self.steppers:
            if stepper.reference.source == "previous" and stepper.coder.size:
                shortest = float(stepper.coder.extents()[0].min()) * (self.absolute.unit if stepper.in_days else 1.0)
                return max(shortest, 0.0)
        return 0.0

    def _leads_inside(self, stepper: Stepper, base: Floats, later: NDArray[np.int64] | None) -> NDArray[np.bool_]:
        """Which of the stepper's tokens have a step that ends inside the range. Where none has: of a column never before another of its row
        none, so that it is null (no real row that begins so late has an end); else all of them, and `_inside` then shortens the step."""
        shortest, longest = stepper.coder.extents()
        least, most = self._feasible(stepper, base, later)
        inside = (shortest[None, :] <= most[:, None]) & (longest[None, :] >= least[:, None])
        if self.has_nulls and stepper.side and stepper.reference.source == "row":
            return inside
        return inside | ~inside.any(axis=1, keepdims=True)

    def _inside(self, stepper: Stepper, step: Floats, tokens: NDArray[np.int32], base: Floats, later: NDArray[np.int64] | None) -> Floats:
        """Steps drawn from bins that reach beyond the range, squeezed into the part of the bin that does not."""
        shortest, longest = (bound[tokens] for bound in stepper.coder.extents())
        least, most = self._feasible(stepper, base, later)
        low, high = np.maximum(shortest, least), np.minimum(longest, most)
        share = (step - shortest) / np.where(longest > shortest, longest - shortest, 1.0)
        squeezed = stepper.coder.rounded(low + share * (high - low))
        reaches_out = (low > shortest) | (high < longest)
        # no such part: the nearest end of the range
        return np.where(reaches_out, np.where(low <= high, squeezed, np.clip(step, least, np.maximum(least, most))), step)

    def _arrive(self, stepper: Stepper, step: Floats, base: Floats, tokens: Tokens, draw: Draw) -> Floats:
        if stepper.in_days and isinstance(self.absolute, MomentCoder):
            unit = self.absolute.unit
            arrived = (np.floor(base / unit) + step) * unit + self.absolute.time_of_day(tokens[:, 1 + self.absolute.day_slots :], draw)
        else:
            arrived = self.absolute.settled(base + step)
        return self._on_its_side(arrived, base, stepper.side)

    def to_json(self) -> dict[str, Any]:
        return {
            "absolute": self.absolute.to_json(),
            "is_moment": isinstance(self.absolute, MomentCoder),
            "steppers": [s.to_json() for s in self.steppers],
            "data_type": self.data_type,
            "sides": self.sides,
            "starts": [np.flatnonzero(seen).tolist() for seen in self.starts],
            "has_nulls": self.has_nulls,
            "paces": self.paces,
            "pacer": self.pacer.to_json() if self.pacer else None,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> RelativeEncoder:
        absolute = (MomentCoder if raw["is_moment"] else LevelCoder).from_json(raw["absolute"])
        starts = [np.isin(np.arange(size), seen) for size, seen in zip(absolute.slots, raw["starts"], strict=True)]
        steppers = [Stepper.from_json(s) for s in raw["steppers"]]
        paces = tuple(raw["paces"]) if raw["paces"] else None
        pacer = NumberCoder.from_json(raw["pacer"]) if raw["pacer"] else None
        return cls(absolute, steppers, raw["data_type"], raw["sides"], starts, raw["has_nulls"], paces, pacer)

    def tells_values(self) -> bool:
        """See `Encoder.tells_values`."""
        return not self.absolute.is_rough

    def protections(self) -> list[str]:
        return ["longest and shortest distances drawn in to the mean of the outermost entities"]


def _mean_steps(goals: Floats, start: Floats, later: NDArray[np.int64], own: NDArray[np.bool_]) -> Floats:
    """The step that would lead from the values of `start` to the goals in as many steps as siblings come `later`, and the row's `own`. NaN
    where anything is unknown, or few siblings are to come."""
    found: Floats = (goals - start) / np.maximum(later + own, 1)
    return np.where(later >= NEAR, found, np.nan)


def _pacer(
    values: Floats, base: Floats, entity: NDArray[np.int64], settings: EncodingSettings, later: NDArray[np.int64]
) -> NumberCoder | None:
    """Tells mean steps, which are finer than any one of them; None where there are none."""
    steps = Goals.of(values, later).mean_steps(values, base, later)
    known = np.isfinite(steps)
    return NumberCoder.fit(steps[known], entity[known], settings, None) if known.any() else None


def _common_range(points: Floats, entity: NDArray[np.int64], fewest: int) -> tuple[int, int]:
    """The first and last point that so many entities reach, or as many as there are."""
    names, number = np.unique(entity, return_inverse=True)
    lowest, highest = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    np.minimum.at(lowest, number, points)
    np.maximum.at(highest, number, points)
    place = min(fewest, len(names)) - 1
    first, last = sorted((int(np.sort(lowest)[place]), int(np.sort(highest)[-1 - place])))
    return first, last


def _seen(absolute: MomentCoder | LevelCoder, values: Floats) -> list[NDArray[np.bool_]]:
    """For each slot the tokens that these values have; all of them where there is no value."""
    tokens = absolute.encode(values) if len(values) else np.zeros((0, len(absolute.slots)), np.int32)
    return [np.isin(np.arange(size), tokens[:, slot]) | (len(values) == 0) for slot, size in enumerate(absolute.slots)]


def _stepper(
    reference: Reference, values: Floats, base: Floats, entity: NDArray[np.int64], settings: EncodingSettings, unit: float | None
) -> Stepper:
    """`unit` is that of moments, None for other numbers."""
    step = values - base
    side = _side(step)
    in_days = unit is not None and unit > 1 and len(step) > 0 and float(np.median(np.abs(step))) > 3 * unit
    if in_days and unit is not None:
        step = np.floor(values / unit) - np.floor(base / unit)
    places = 0 if in_days or unit == 1 or not len(step) else decimal_places(step)
    return Stepper(reference, NumberCoder.fit(step, entity, settings, places), in_days, side)


def _side(steps: Floats) -> int:
    """1 where none of the steps goes back, -1 where none goes on, 0 where some do or there are none."""
    if not len(steps):
        return 0
    return 1 if bool(np.all(steps >= 0)) else -1 if bool(np.all(steps <= 0)) else 0
