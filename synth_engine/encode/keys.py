"""Values of primary keys: type and format are kept, uniqueness holds by construction, and no real string comes out, unless settings
keep it or strings do no more than count the rows."""

from __future__ import annotations

import decimal
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.config import ColumnSettings
from synth_engine.encode.base import AS_FOUND, REMEDY, ROOM, EncodingSettings
from synth_engine.encode.counting import Numbering
from synth_engine.encode.strings import StringModel, without_check_digits
from synth_engine.encode.uuids import UuidForm, are_uuids
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.randomness import generator, stream, uniforms
from synth_engine.schema.check_digits import complete, find_rule
from synth_engine.schema.types import base_type, decimal_digits, string_length, to_arrow

INTEGERS = {f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (16, 32, 64)}
"""Lowest and highest value of each integer type."""

COUNTER = re.compile(r"(.*?)([0-9]+)([^0-9]*)", re.DOTALL)
COUNTED = 0.9
"""Share of the values that must follow right upon another where a string counts rows."""

DIGITS = 40
"""Most digits of a number in a string of any length."""

KEPT = "values kept as they are, by settings"

EXACT = decimal.Context(prec=100)


class KeyGenerator:
    """Unique values for the rows 0 … n-1 of a key column, in one of six forms:

    `integers` (and decimals) count as the source's do; `counter`: strings that hold such a number; `numbers`: dates and
    timestamps, spread over the source's range; `uuid`: UUIDs of the source's version; `strings`: the source's format, or the one
    given; `kept`: the source's values.
    """

    def __init__(self, form: str, data_type: str, facts: Mapping[str, Any], strings: StringModel | None = None) -> None:
        self.form, self.data_type, self.facts, self.strings = form, data_type, dict(facts), strings
        self.numbering = Numbering.from_json(facts["numbering"]) if "numbering" in facts else None

    @classmethod
    def fit(
        cls, column: pa.Array, data_type: str, settings: EncodingSettings, seed: int, wanted: ColumnSettings = AS_FOUND
    ) -> KeyGenerator:
        """Learn the form from the real key values (nulls are left out), but for what is `wanted`."""
        known = column.drop_null()
        if wanted.keep_values:
            return cls("kept", data_type, {"values": pc.cast(known.take(pc.array_sort_indices(known)), pa.string()).to_pylist()})
        if limits := _limits(data_type):
            return cls("integers", data_type, _integer_facts(_integers(known, data_type), limits, settings, wanted))
        if base_type(data_type) not in ("string", "uuid", "other", "json"):
            return cls("numbers", data_type, _range(known, data_type))
        texts = pc.cast(known, pa.string()).to_pylist()
        if base_type(data_type) == "uuid" or (wanted.pattern is None and wanted.check_digit is None and are_uuids(texts)):
            return cls("uuid", data_type, UuidForm.of(texts, settings.extreme_entities).to_json())
        counter = None if wanted.pattern else _counter(texts, data_type, settings, wanted.check_digit)
        if counter is not None:
            return cls("counter", data_type, counter)
        salt = f"{stream(seed, 'salt'):x}"
        limit = string_length(data_type)
        model = StringModel.fit(texts, settings.rare_entities, limit, salt, wanted.pattern, wanted.check_digit)
        return cls("strings", data_type, {}, model)

    @property
    def counts(self) -> bool:
        """Whether the values are numbers, or hold one, that can start at a given number."""
        return self.numbering is not None

    @property
    def ascending(self) -> bool:
        """Whether later rows get larger values."""
        return self.form not in ("strings", "uuid") or (self.form == "uuid" and self.facts["version"] in (6, 7))

    def generate(self, rows: int, seed: int, start: int | None = None) -> pa.Array:
        """`rows` different values; the same seed gives the same ones. Those that count do so from `start` on, if it is given."""
        if self.numbering is not None:
            return self._written(self.numbering.draw(rows, seed, start))
        return getattr(self, f"_{self.form}")(rows, seed)

    def _written(self, numbers: Sequence[int]) -> pa.Array:
        """Numbers as values of the column, with a check digit where there is a rule for one."""
        rule, arrow = self.facts["rule"], to_arrow(self.data_type)
        if self.form == "counter":
            before, after, width = self.facts["prefix"], self.facts["suffix"], self.facts["width"]
            texts = [f"{before}{number:0{width}d}{after}" for number in numbers]
            return pa.array(texts if rule is None else [complete(rule, text) for text in texts], arrow)
        values = list(numbers) if rule is None else [int(complete(rule, str(number))) for number in numbers]
        if digits := decimal_digits(self.data_type):
            return pa.array([EXACT.scaleb(decimal.Decimal(value), -digits[1]) for value in values], arrow)
        return pa.array(values, arrow)

    def _numbers(self, rows: int, seed: int) -> pa.Array:
        # each row draws from a stratum of its own, at least one unit wide: as dense as the source, never twice the same
        count = max(int(self.facts["count"]), 1)
        width = max((self.facts["last"] - self.facts["first"] + 1) / count, 1.0)
        offset = np.floor(np.arange(rows) * width)
        room = np.floor((np.arange(rows) + 1) * width) - offset
        values = self.facts["first"] + offset + np.floor(uniforms(stream(seed, "numbers"), np.arange(rows)) * room)
        return from_floats(values, self.data_type)

    def _uuid(self, rows: int, seed: int) -> pa.Array:
        form = UuidForm.from_json(self.facts)
        raw = generator(seed, "uuid").bytes(16 * rows)
        when = (np.arange(rows) + uniforms(stream(seed, "time"), np.arange(rows))) / max(rows, 1)
        made = [form.write(int.from_bytes(raw[16 * i : 16 * i + 16], "big"), u) for i, u in enumerate(when.tolist())]
        return pa.array(sorted(made) if self.ascending else made, to_arrow(self.data_type))

    def _strings(self, rows: int, seed: int) -> pa.Array:
        assert self.strings is not None
        formats = self._formats(np.arange(rows, dtype=np.int64), seed)
        return pa.array(self.strings.draw_unique(formats, rows, stream(seed, "strings")), to_arrow(self.data_type))

    def _kept(self, rows: int, seed: int) -> pa.Array:
        values = pa.array(self.facts["values"], pa.string())
        chosen = np.sort(generator(seed, "kept").permutation(len(values))[:rows])
        return values.take(pa.array(chosen)).cast(to_arrow(self.data_type))

    def _formats(self, index: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        assert self.strings is not None
        share = np.cumsum([p.share for p in self.strings.patterns] or [1.0])
        drawn = np.searchsorted(share, uniforms(stream(seed, "formats"), index) * share[-1], side="right")
        formats: NDArray[np.int64] = np.minimum(drawn, len(share) - 1).astype(np.int64)
        return formats

    def changes(self, rows: int) -> list[str]:
        """What of the source's format cannot be kept in so many rows."""
        if self.form == "counter" and self.numbering is not None and self.numbering.count:
            numbering = self.numbering
            last = numbering.first + (numbering.last - numbering.first + 1) * rows // numbering.count - 1
            longer = len(str(last)) > max(self.facts["width"], len(str(numbering.last)))
            return [f"the number that counts the rows takes more digits for {rows} of them"] if longer else []
        change = self.strings.change(rows, unique=True) if self.strings else None
        return [change] if change else []

    def lack(self, rows: int) -> str | None:
        """Why there cannot be so many values, None if there can."""
        if self.form == "kept":
            held = len(self.facts["values"])
            return f"{rows} rows, {held} values that are kept as they are" if rows > held else None
        if self.form == "counter" and self.numbering is not None:
            room = self.numbering.high - self.numbering.low + 1
            return f"{rows} rows, room for {room} numbers" if rows > room else None
        return self.strings.lack(rows, unique=True) if self.strings else None

    @property
    def room(self) -> str:
        """What must hold where there is a lack."""
        if self.form == "kept":
            return "its values are kept, so there must be one for each row"
        return self.strings.room if self.strings else ROOM

    @property
    def remedy(self) -> str:
        """What can be done about a lack."""
        if self.form == "kept":
            return f"ask for at most {len(self.facts['values'])} rows of its table, or remove keep_values"
        return self.strings.remedy if self.strings else REMEDY

    def protections(self) -> list[str]:
        """What a reader of the report should know of the values, in plain words."""
        return [KEPT] if self.form == "kept" else []

    def to_json(self) -> dict[str, Any]:
        strings = self.strings.to_json() if self.strings else None
        return {"form": self.form, "data_type": self.data_type, "facts": self.facts, "strings": strings}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> KeyGenerator:
        strings = StringModel.from_json(raw["strings"]) if raw["strings"] else None
        return cls(raw["form"], raw["data_type"], raw["facts"], strings)


def _limits(data_type: str) -> tuple[int, int] | None:
    """Lowest and highest number of a type that counts exactly; a decimal counts in units of its last digit."""
    if digits := decimal_digits(data_type):
        return 1 - 10 ** digits[0], 10 ** digits[0] - 1
    return INTEGERS.get(base_type(data_type))


def _integers(known: pa.Array, data_type: str) -> NDArray[Any]:
    """Integers as an array; decimals, which may be larger than 64 bits hold, as one of Python's."""
    digits = decimal_digits(data_type)
    if digits is None:
        return np.asarray(known.cast(pa.int64()).to_numpy(zero_copy_only=False))
    return np.array([int(EXACT.scaleb(value, digits[1])) for value in known.to_pylist()], dtype=object)


def _integer_facts(values: NDArray[Any], limits: tuple[int, int], settings: EncodingSettings, wanted: ColumnSettings) -> dict[str, Any]:
    """How integers count; of those with a check digit, what stands before it."""
    rule = wanted.check_digit or find_rule(values)
    low, high = limits
    if rule is not None:
        bodies = {int(text or 0) for text in without_check_digits([str(v) for v in values], rule)}
        values, low, high = np.array(sorted(bodies), dtype=object), 0, high // 10 - 1
    return {"numbering": Numbering.fit(values, settings.rare_entities, low, high).to_json(), "rule": rule}


def _counter(texts: Sequence[str], data_type: str, settings: EncodingSettings, rule: str | None) -> dict[str, Any] | None:
    """How strings count, that are all alike but for one number in which they follow one another; None for others."""
    rule = rule or find_rule(texts)
    bodies = texts if rule is None else without_check_digits(texts, rule)
    found = COUNTER.fullmatch(bodies[0]) if len(bodies) > settings.rare_entities and rule != "mod97" else None
    if found is None or not all(text.startswith(found[1]) and text.endswith(found[3]) for text in bodies):
        return None
    prefix, suffix = found[1], found[3]
    inner = [text[len(prefix) : len(text) - len(suffix)] for text in bodies]
    if not all(text.isascii() and text.isdecimal() and len(text) <= DIGITS for text in inner):
        return None
    width = min(map(len, inner))
    numbers = [int(text) for text in inner]
    if any(f"{number:0{width}d}" != text for number, text in zip(numbers, inner, strict=True)):
        return None
    limit = string_length(data_type)
    room = DIGITS if limit is None else limit - len(prefix) - len(suffix) - (rule is not None)
    numbering = Numbering.fit(np.array(numbers, dtype=object), settings.rare_entities, 0, 10**room - 1)
    if numbering.dense < COUNTED:
        return None
    return {"numbering": numbering.to_json(), "prefix": prefix, "suffix": suffix, "width": width, "rule": rule}


def _range(known: pa.Array, data_type: str) -> dict[str, float]:
    """First and last value and their number."""
    values = to_floats(known, data_type)
    values = values[np.isfinite(values)]
    first, last = (float(values.min()), float(values.max())) if len(values) else (1.0, 0.0)
    return {"first": first, "last": last, "count": len(values)}
