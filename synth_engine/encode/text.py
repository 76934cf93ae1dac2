"""Short strings: the row model draws whether there is one and its format, the string model writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from synth_engine.config import ColumnSettings
from synth_engine.encode.base import AS_FOUND, Draw, Encoder, EncodingSettings, Tokens
from synth_engine.encode.strings import StringModel
from synth_engine.encode.uuids import UuidForm, from_words
from synth_engine.randomness import stream
from synth_engine.schema.types import base_type, string_length, to_arrow

BYTE_BY_BYTE = "latin-1"
"""The encoding that has one character for each byte."""


class TextEncoder(Encoder):
    """A column of strings (or bytes, each as one character) most of which are unique. One slot: null, then the formats.

    Those of a `unique` column differ by construction, for which all rows have to be decoded together.
    """

    tag = "text"

    def __init__(self, model: StringModel, data_type: str, seed: int, unique: bool = False) -> None:
        self.model, self.data_type, self.seed, self.unique = model, data_type, seed, unique
        self.slots = [1 + model.choices]
        self.room, self.remedy = model.room, model.remedy

    @classmethod
    def fit(
        cls,
        column: pa.Array,
        data_type: str,
        settings: EncodingSettings,
        seed: int,
        wanted: ColumnSettings = AS_FOUND,
        *,
        unique: bool = False,
    ) -> TextEncoder:
        values = [v for v in _texts(column) if v is not None]
        salt = f"{stream(seed, 'salt'):x}"
        limit = string_length(data_type)
        model = StringModel.fit(values, settings.rare_entities, limit, salt, wanted.pattern, wanted.check_digit)
        return cls(model, data_type, seed, unique)

    @property
    def exact(self) -> bool:
        """Whether a value that is changed by a character breaks a pattern that was given, or a check digit."""
        return self.model.exact

    def encode(self, column: pa.Array) -> Tokens:
        values = _texts(column)
        return np.array([0 if v is None else 1 + self.model.choice_of(v) for v in values], dtype=np.int32).reshape(-1, 1)

    def decode(self, tokens: Tokens, draw: Draw) -> pa.Array:
        present = np.flatnonzero(tokens[:, 0] > 0)
        out = np.full(len(tokens), None, dtype=object)
        formats, seed = tokens[present, 0].astype(np.int64) - 1, stream(self.seed, "text")
        if self.unique:
            texts = self.model.draw_unique(formats, draw.table_rows, seed)
        else:
            texts = self.model.draw(formats, draw.rows[present], draw.table_rows, seed)
        out[present] = [text.encode(BYTE_BY_BYTE) for text in texts] if base_type(self.data_type) == "binary" else texts
        return pa.array(out, to_arrow(self.data_type))

    def to_json(self) -> dict[str, Any]:
        return {"model": self.model.to_json(), "data_type": self.data_type, "seed": self.seed, "unique": self.unique}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> TextEncoder:
        return cls(StringModel.from_json(raw["model"]), raw["data_type"], raw["seed"], raw["unique"])

    def changes(self, rows: int) -> list[str]:
        change = self.model.change(rows, unique=self.unique)
        return [change] if change else []

    def lack(self, rows: int) -> str | None:
        return self.model.lack(rows, unique=self.unique)

    def protections(self) -> list[str]:
        return ["written anew in the learned format; real values are kept out by a Bloom filter"]


def _texts(column: pa.Array) -> list[str | None]:
    return [v.decode(BYTE_BY_BYTE) if isinstance(v, bytes) else v for v in column.to_pylist()]


class UuidEncoder(Encoder):
    """A UUID that is no key: whether there is one is modelled, the UUID itself is drawn anew in the source's version."""

    tag = "uuid"

    def __init__(self, data_type: str, form: UuidForm = UuidForm()) -> None:  # noqa: B008 - it is immutable
        self.data_type, self.form = data_type, form
        self.slots = [2]

    def encode(self, column: pa.Array) -> Tokens:
        missing = np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)
        return np.where(missing, 0, 1).astype(np.int32)[:, None]

    def decode(self, tokens: Tokens, draw: Draw) -> pa.Array:
        bits = from_words([(draw.uniform(10 + lane) * 2**32).astype(np.uint64) for lane in range(4)])
        made = [self.form.write(number, when) for number, when in zip(bits, draw.uniform(14).tolist(), strict=True)]
        return pa.array(
            [text if token else None for text, token in zip(made, tokens[:, 0].tolist(), strict=True)], to_arrow(self.data_type)
        )

    def to_json(self) -> dict[str, Any]:
        return {"data_type": self.data_type, "form": self.form.to_json()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> UuidEncoder:
        return cls(raw["data_type"], UuidForm.from_json(raw["form"]))

    def protections(self) -> list[str]:
        return ["drawn anew"]
