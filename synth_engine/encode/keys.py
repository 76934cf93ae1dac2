"""Values of primary keys: type and format are kept, uniqueness holds by construction, no real string comes out."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.strings import StringModel
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.errors import Terminal
from synth_engine.randomness import generator, stream, uniforms
from synth_engine.schema.types import base_type, string_length, to_arrow

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

INTEGERS = {f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (16, 32, 64)}
"""Lowest and highest value of each integer type."""


class KeyGenerator:
    """Unique values for the rows 0 … n-1 of a key column, in one of three forms:

    `numbers`: integers (dates, timestamps) spread over the source's range as densely as the source's;
    `uuid`: UUIDs of the source's version; `strings`: the source's format.
    """

    def __init__(self, form: str, data_type: str, facts: Mapping[str, Any], strings: StringModel | None) -> None:
        self.form, self.data_type, self.facts, self.strings = form, data_type, dict(facts), strings

    @classmethod
    def fit(cls, column: pa.Array, data_type: str, settings: EncodingSettings, seed: int) -> KeyGenerator:
        """Learn the form from the real key values (nulls are left out)."""
        if base_type(data_type) not in ("string", "uuid", "other", "json"):
            return cls("numbers", data_type, _range(column, data_type), None)
        texts = pc.cast(column, pa.string()).drop_null().to_pylist()
        if texts and all(UUID.fullmatch(t) for t in texts[:1000]):
            return cls("uuid", data_type, {"version": int(texts[0][14], 16), "upper": texts[0].isupper()}, None)
        salt = f"{stream(seed, 'salt'):x}"
        model = StringModel.fit(texts, settings.rare_entities, string_length(data_type), salt)
        return cls("strings", data_type, {}, model)

    def generate(self, rows: int, seed: int) -> pa.Array:
        """`rows` different values; the same seed gives the same ones."""
        return getattr(self, f"_{self.form}")(rows, seed)

    def _numbers(self, rows: int, seed: int) -> pa.Array:
        # each row draws from a stratum of its own, at least one unit wide: as dense as the source, never twice the same
        if base_type(self.data_type) in INTEGERS:
            return self._integers(rows, seed)
        count = max(int(self.facts["count"]), 1)
        width = max((self.facts["last"] - self.facts["first"] + 1) / count, 1.0)
        offset = np.floor(np.arange(rows) * width)
        room = np.floor((np.arange(rows) + 1) * width) - offset
        values = self.facts["first"] + offset + np.floor(uniforms(stream(seed, "numbers"), np.arange(rows)) * room)
        return from_floats(values, self.data_type)

    def _integers(self, rows: int, seed: int) -> pa.Array:
        """The same in 64-bit arithmetic, which floats are too coarse for, and never beyond the ends of the type."""
        low, high = INTEGERS[base_type(self.data_type)]
        first, count = self.facts["first"], max(self.facts["count"], 1)
        span = max(self.facts["last"] - first + 1, count)
        if rows * span > (high - first + 1) * count:  # more than fit above the first: closer together, then from the type's lowest on
            first = first if high - first + 1 >= rows else low
            span, count = high - first + 1, rows
        if span < count:
            raise Terminal(
                f"A key of type {self.data_type} must have a value for each row",
                value=f"{rows} rows, {span} values",
                advice="ask for fewer rows of its table, or widen the column",
            )
        width, rest = divmod(span, count)
        index = np.arange(rows + 1, dtype=np.uint64)
        edges = index * np.uint64(width) + index * np.uint64(rest) // np.uint64(count)
        room = np.diff(edges)  # modulo 2**64, as are all sums here
        drawn = (uniforms(stream(seed, "numbers"), np.arange(rows)) * room).astype(np.uint64)
        values = np.uint64(first % 2**64) + edges[:-1] + np.minimum(drawn, np.maximum(room, np.uint64(1)) - np.uint64(1))
        return pa.array(values.view(np.int64)).cast(to_arrow(self.data_type))

    def _uuid(self, rows: int, seed: int) -> pa.Array:
        raw = generator(seed, "uuid").bytes(16 * rows)
        made = [
            str(uuid.UUID(bytes=raw[16 * i : 16 * i + 16], version=self.facts["version"] if 1 <= self.facts["version"] <= 5 else 4))
            for i in range(rows)
        ]
        return pa.array([m.upper() for m in made] if self.facts["upper"] else made, to_arrow(self.data_type))

    def _strings(self, rows: int, seed: int) -> pa.Array:
        assert self.strings is not None
        formats = self._formats(np.arange(rows, dtype=np.int64), seed)
        return pa.array(self.strings.draw_unique(formats, rows, stream(seed, "strings")), to_arrow(self.data_type))

    def _formats(self, index: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        assert self.strings is not None
        share = np.cumsum([p.share for p in self.strings.patterns] or [1.0])
        drawn = np.searchsorted(share, uniforms(stream(seed, "formats"), index) * share[-1], side="right")
        formats: NDArray[np.int64] = np.minimum(drawn, len(share) - 1).astype(np.int64)
        return formats

    def changes(self, rows: int) -> list[str]:
        """What of the source's format cannot be kept in so many rows."""
        change = self.strings.change(rows, unique=True) if self.strings else None
        return [change] if change else []

    def lack(self, rows: int) -> str | None:
        """Why the key's type cannot hold so many values, None if it can."""
        return self.strings.lack(rows, unique=True) if self.strings else None

    def to_json(self) -> dict[str, Any]:
        strings = self.strings.to_json() if self.strings else None
        return {"form": self.form, "data_type": self.data_type, "facts": self.facts, "strings": strings}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> KeyGenerator:
        strings = StringModel.from_json(raw["strings"]) if raw["strings"] else None
        return cls(raw["form"], raw["data_type"], raw["facts"], strings)


def _range(column: pa.Array, data_type: str) -> dict[str, float]:
    """First and last value and their number; integers exactly."""
    if base_type(data_type) in INTEGERS:
        ends = pc.min_max(column).as_py()
        first, last = (1, 0) if ends["min"] is None else (ends["min"], ends["max"])
        return {"first": first, "last": last, "count": len(column) - column.null_count}
    values = to_floats(column, data_type)
    values = values[np.isfinite(values)]
    first, last = (float(values.min()), float(values.max())) if len(values) else (1.0, 0.0)
    return {"first": first, "last": last, "count": len(values)}
