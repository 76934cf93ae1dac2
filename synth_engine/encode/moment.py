"""Dates and timestamps: absolute, or as the distance to another moment so that the order of the two cannot break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, Encoder, EncodingSettings, Floats, Tokens
from synth_engine.encode.number import NumberCoder, decimal_places
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.schema.types import base_type

DAY = 86_400.0
WEEKDAY_SKEW = 0.05
"""Total variation distance from equal weekdays, or of their hours from those of all days, above which the weekday gets its own
token."""


def first_of_january(day: float) -> float:
    """The first day of a day's year, in days since 1970."""
    return float(np.datetime64(int(day), "D").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64))


@dataclass
class MomentCoder:
    """Tokens for moments (seconds since 1970, or days for dates): day bin, weekday, hour, rest of the hour.

    Slots that carry nothing (no time of day, whole hours) are left out.
    """

    days: NumberCoder
    weekday: bool
    hours: bool
    rest: NumberCoder | None
    unit: float

    @property
    def is_rough(self) -> bool:
        """See `NumberCoder.is_rough`."""
        return self.days.is_rough

    @property
    def slots(self) -> list[int]:
        sizes = [max(self.days.size, 1)]
        sizes += [7] if self.weekday else []
        sizes += [24] if self.hours else []
        sizes += [max(self.rest.size, 1)] if self.rest else []
        return sizes

    @classmethod
    def fit(cls, values: Floats, entity: NDArray[np.int64], settings: EncodingSettings, unit: float) -> MomentCoder:
        """`values` are finite; `unit` is the number of them in a day (1 for dates, 86,400 for seconds)."""
        day = np.floor(values / unit)
        days = NumberCoder.fit(day, entity, settings, 0, rough=first_of_january)
        if days.is_rough:  # the hours are those of too few, too
            return cls(days, False, False, None, unit)
        second = values - day * unit
        has_hours = unit > 1 and bool(np.any(second >= 1e-9))
        weekday = day.astype(np.int64) % 7
        telling = _skewed(weekday) or (has_hours and _depend(weekday, np.clip(second // 3600, 0, 23).astype(np.int64)))
        within = np.mod(second, 3600.0)
        rest = None
        if has_hours and bool(np.any(within > 1e-9)):
            small = EncodingSettings(settings.rare_entities, settings.extreme_entities, min(12, settings.bins))
            rest = NumberCoder.fit(within, entity, small, decimal_places(within))
        return cls(days, bool(telling and len(days.knots)), has_hours, rest, unit)

    def positions(self) -> list[Floats | None]:
        """Order of the tokens of each slot (see `Encoder.positions`)."""
        found: list[Floats | None] = [self.days.positions() if self.days.size else None]
        found += [None] if self.weekday else []
        found += [np.arange(24) / 23] if self.hours else []
        found += [self.rest.positions() if self.rest.size else None] if self.rest else []
        return found

    def bounds(self) -> tuple[float, float]:
        """The first moment of the first day and the last second (or day) of the last."""
        first, last = self.days.bounds()
        return first * self.unit, (last + 1) * self.unit - 1

    def encode(self, values: Floats) -> Tokens:
        """Tokens of finite moments, shape (rows, slots)."""
        day = np.floor(values / self.unit)
        columns = [self.days.encode(day) if self.days.size else np.zeros(len(values), np.int32)]
        second = values - day * self.unit
        if self.weekday:
            columns.append((day.astype(np.int64) % 7).astype(np.int32))
        if self.hours:
            columns.append(np.clip(second // 3600, 0, 23).astype(np.int32))
        if self.rest:
            columns.append(self.rest.encode(np.mod(second, 3600.0)))
        return np.stack(columns, axis=1).astype(np.int32)

    def decode(self, tokens: Tokens, draw: Draw) -> Floats:
        """A moment for each row of tokens."""
        day = self.days.decode(tokens[:, 0], draw.uniform(1)) if self.days.size else np.zeros(len(tokens))
        slot = 1
        if self.weekday:
            in_bin = tokens[:, 0] >= len(self.days.spikes)  # a day that is a spike has its weekday already
            shift = (tokens[:, slot] - day.astype(np.int64) + 3) % 7 - 3
            day = day + np.where(in_bin, shift, 0)
            slot += 1
        return day * self.unit + self.time_of_day(tokens[:, slot:], draw)

    def settled(self, values: Floats) -> Floats:
        """Where a step ends."""
        return values

    def beside(self, values: Floats, side: int) -> Floats:
        """The moments nearest to these that the column can have, none of them before (or, for side -1, after) them."""
        return values

    def time_of_day(self, tokens: Tokens, draw: Draw) -> Floats:
        """Seconds since midnight from the last slots (hour, rest of the hour)."""
        seconds = np.zeros(len(tokens))
        if self.hours:
            seconds += tokens[:, 0] * 3600.0
        if self.rest:
            seconds += np.clip(self.rest.decode(tokens[:, 1], draw.uniform(2)), 0, 3599.999999)
        return seconds

    @property
    def day_slots(self) -> int:
        """How many leading slots say the day."""
        return 1 + self.weekday

    def to_json(self) -> dict[str, Any]:
        rest = self.rest.to_json() if self.rest else None
        return {"days": self.days.to_json(), "weekday": self.weekday, "hours": self.hours, "rest": rest, "unit": self.unit}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> MomentCoder:
        rest = NumberCoder.from_json(raw["rest"]) if raw["rest"] else None
        return cls(NumberCoder.from_json(raw["days"]), raw["weekday"], raw["hours"], rest, raw["unit"])


def _skewed(weekday: NDArray[np.int64]) -> bool:
    """Whether some days of the week have more moments than others."""
    shares = np.bincount(weekday, minlength=7) / max(len(weekday), 1)
    return bool(0.5 * np.abs(shares - 1 / 7).sum() > WEEKDAY_SKEW + 2 / np.sqrt(max(len(weekday), 1)))


def _depend(weekday: NDArray[np.int64], hour: NDArray[np.int64]) -> bool:
    """Whether some days of the week have other hours than others."""
    joint = np.bincount(weekday * 24 + hour, minlength=7 * 24).reshape(7, 24) / max(len(hour), 1)
    apart = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    chance = 0.4 * float(np.sqrt(apart / max(len(hour), 1)).sum())
    return bool(0.5 * np.abs(joint - apart).sum() > WEEKDAY_SKEW + 2 * chance)


def unit_of(data_type: str) -> float:
    """How many of the floats of `encode.values` make a day."""
    return 1.0 if base_type(data_type) == "date" else DAY


class MomentEncoder(Encoder):
    """A date or timestamp by itself. First slot: null or not; then the slots of the coder."""

    tag = "moment"

    def __init__(self, coder: MomentCoder, data_type: str) -> None:
        self.coder, self.data_type = coder, data_type
        self.slots = [2, *coder.slots]

    @classmethod
    def fit(cls, column: pa.Array, data_type: str, entity: NDArray[np.int64], settings: EncodingSettings) -> MomentEncoder:
        values = to_floats(column, data_type)
        known = np.isfinite(values)
        return cls(MomentCoder.fit(values[known], entity[known], settings, unit_of(data_type)), data_type)

    def positions(self) -> list[Floats | None]:
        return [None, *self.coder.positions()]

    def encode(self, column: pa.Array) -> Tokens:
        values = to_floats(column, self.data_type)
        known = np.isfinite(values)
        tokens = np.zeros((len(values), len(self.slots)), dtype=np.int32)
        tokens[:, 0] = known
        if known.any():
            tokens[known, 1:] = self.coder.encode(values[known])
        return tokens

    def decode(self, tokens: Tokens, draw: Draw) -> pa.Array:
        values = self.coder.decode(tokens[:, 1:], draw)
        return from_floats(np.where(tokens[:, 0] == 0, np.nan, values), self.data_type)

    def to_json(self) -> dict[str, Any]:
        return {"coder": self.coder.to_json(), "data_type": self.data_type}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> MomentEncoder:
        return cls(MomentCoder.from_json(raw["coder"]), raw["data_type"])

    def tells_values(self) -> bool:
        return not self.coder.is_rough

    def protections(self) -> list[str]:
        if self.coder.is_rough:
            return ["of the dates of so few entities nothing told but the year"]
        return ["earliest and latest dates drawn in to the mean of the outermost entities"]
