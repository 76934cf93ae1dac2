"""What a column of UUIDs has in common: version, case, and of versions that tell the time, when."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

RANDOM = 4
VARIANT = 0b10 << 62
"""The two bits that all these versions have in common (RFC 9562)."""


def are_uuids(texts: Sequence[str]) -> bool:
    """Whether the texts are UUIDs, all of them."""
    return bool(texts) and all(UUID.fullmatch(text) for text in texts)


@dataclass(frozen=True)
class UuidForm:
    """`since` and `until` bound the time of versions 1, 6 (in 100 ns) and 7 (in ms); those of the outermost values are drawn
    in to their mean."""

    version: int = RANDOM
    upper: bool = False
    since: int = 0
    until: int = 0

    @classmethod
    def of(cls, texts: Sequence[str], extreme: int) -> UuidForm:
        """The form of UUIDs, the version being that of most; of none at all, random ones."""
        if not texts:
            return cls()
        found, _ = Counter(text[14] for text in texts).most_common(1)[0]
        version = int(found, 16) if found in "12345678" else RANDOM
        upper = sum(text.isupper() for text in texts) > sum(text.islower() for text in texts)
        moments = sorted(_moment(int(t.replace("-", ""), 16), version) for t in texts if t[14] == found)
        outermost = max(min(extreme, len(moments)), 1)
        return cls(version, upper, sum(moments[:outermost]) // outermost, sum(moments[-outermost:]) // outermost)

    def write(self, bits: int, when: float) -> str:
        """The UUID of 128 random bits, at a point between 0 and 1 of the time that the source's span."""
        moment = self.since + int(when * (self.until - self.since))
        clear = (1 << 128) - 1 ^ (0xF << 76) ^ (0b11 << 62)
        low = bits & ((1 << 64) - 1)
        if self.version == 7:
            bits = moment << 80 | bits & ((1 << 80) - 1)
        elif self.version == 6:
            bits = (moment >> 12) << 80 | (moment & 0xFFF) << 64 | low
        elif self.version == 1:
            bits = (moment & 0xFFFFFFFF) << 96 | (moment >> 32 & 0xFFFF) << 80 | (moment >> 48 & 0xFFF) << 64 | low
        digits = f"{bits & clear | self.version << 76 | VARIANT:032x}"
        text = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        return text.upper() if self.upper else text

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> UuidForm:
        return cls(**raw)


def _moment(bits: int, version: int) -> int:
    """When a UUID was made, 0 for versions that do not tell."""
    if version == 7:
        return bits >> 80
    if version == 6:
        return (bits >> 80) << 12 | bits >> 64 & 0xFFF
    if version == 1:
        return (bits >> 64 & 0xFFF) << 48 | (bits >> 80 & 0xFFFF) << 32 | bits >> 96
    return 0


def from_words(words: Sequence[NDArray[np.uint64]]) -> list[int]:
    """Numbers of 128 bits from four columns of 32."""
    return [a << 96 | b << 64 | c << 32 | d for a, b, c, d in zip(*(word.tolist() for word in words), strict=True)]
