"""The level of a number that is told as steps: what `MomentCoder` is for moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, EncodingSettings, Floats, Tokens
from synth_engine.encode.number import NumberCoder, decimal_places

MOSTLY_SPIKES = 0.9
"""Share of the values that are spikes from which on steps end at one of them: a sum of steps would come to values in between."""


@dataclass
class LevelCoder:
    """One slot, the tokens of a `NumberCoder`. Where it `snaps`, values are those of the coder's spikes only."""

    coder: NumberCoder
    snaps: bool
    unit: ClassVar[float] = 1.0
    day_slots: ClassVar[int] = 0

    @property
    def is_rough(self) -> bool:
        """See `NumberCoder.is_rough`."""
        return self.coder.is_rough

    @property
    def slots(self) -> list[int]:
        return [max(self.coder.size, 1)]

    @classmethod
    def fit(cls, values: Floats, entity: NDArray[np.int64], settings: EncodingSettings) -> LevelCoder:
        """`values` are finite."""
        coder = NumberCoder.fit(values, entity, settings, decimal_places(values) if len(values) else 0)
        spiked = coder.encode(values) < len(coder.spikes) if coder.size else np.zeros(0, np.bool_)
        return cls(coder, bool(len(spiked) and spiked.mean() >= MOSTLY_SPIKES))

    def positions(self) -> list[Floats | None]:
        return [self.coder.positions() if self.coder.size else None]

    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return self.coder.bounds()

    def encode(self, values: Floats) -> Tokens:
        """Tokens of finite values, shape (rows, 1)."""
        return (self.coder.encode(values) if self.coder.size else np.zeros(len(values), np.int32))[:, None]

    def decode(self, tokens: Tokens, draw: Draw) -> Floats:
        """A value for each row of tokens."""
        return self.coder.decode(tokens[:, 0], draw.uniform(1)) if self.coder.size else np.zeros(len(tokens))

    def settled(self, values: Floats) -> Floats:
        """Where a step ends, as the column spells it."""
        return self.coder.nearest_spikes(values) if self.snaps else self.coder.rounded(values)

    def beside(self, values: Floats, side: int) -> Floats:
        """The numbers nearest to these that the column can have, none of them below (or, for side -1, above) them if there is one."""
        if self.snaps:
            spikes = self.coder.spikes
            place = np.searchsorted(spikes, values) if side > 0 else np.searchsorted(spikes, values, side="right") - 1
            return spikes[np.clip(place, 0, len(spikes) - 1)]
        if self.coder.places is None:
            return values
        unit = self.coder.step / 10.0**self.coder.places
        whole = values / unit
        return self.coder.rounded((np.ceil(whole - 1e-6) if side > 0 else np.floor(whole + 1e-6)) * unit)

    def to_json(self) -> dict[str, Any]:
        return {"coder": self.coder.to_json(), "snaps": self.snaps}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> LevelCoder:
        return cls(NumberCoder.from_json(raw["coder"]), raw["snaps"])
