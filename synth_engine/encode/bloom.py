"""A Bloom filter: tells whether a drawn string may be a real one, without holding the real ones.

Source: B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 13(7), 1970.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS_PER_VALUE, HASHES = 16, 6


class BloomFilter:
    """About one in a thousand strings that are not real is taken for real, and drawn again: nobody notices."""

    def __init__(self, bits: NDArray[np.uint8], salt: str) -> None:
        self._bits, self._salt = bits, salt

    @classmethod
    def of(cls, values: Iterable[str], count: int, salt: str) -> BloomFilter:
        size = max(64, 1 << int(np.ceil(np.log2(max(count, 1) * BITS_PER_VALUE))))
        made = cls(np.zeros(size // 8, dtype=np.uint8), salt)
        for value in values:
            for at in made._positions(value):
                made._bits[at >> 3] |= 1 << (at & 7)
        return made

    def __contains__(self, value: str) -> bool:
        return all(self._bits[at >> 3] & (1 << (at & 7)) for at in self._positions(value))

    def _positions(self, value: str) -> list[int]:
        digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), key=self._salt.encode(), digest_size=32).digest()
        size = len(self._bits) * 8
        return [int.from_bytes(digest[5 * i : 5 * i + 5], "big") % size for i in range(HASHES)]

    def to_json(self) -> dict[str, Any]:
        return {"bits": base64.b64encode(self._bits.tobytes()).decode(), "salt": self._salt}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> BloomFilter:
        return cls(np.frombuffer(base64.b64decode(raw["bits"]), dtype=np.uint8).copy(), raw["salt"])
