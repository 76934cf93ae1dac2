"""Short strings: the row model draws whether there is one and its format, the string model writes it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from synth_engine.encode.base import Draw, Encoder, EncodingSettings, Tokens
from synth_engine.encode.strings import StringModel
from synth_engine.randomness import stream
from synth_engine.schema.types import base_type, string_length, to_arrow

BYTE_BY_BYTE = "latin-1"
"""The encoding that has one character for each byte."""


class TextEncoder(Encoder):
    """A column of strings (or bytes, each as one character) most of which are unique. One slot: null, then the formats."""

    tag = "text"

    def __init__(self, model: StringModel, data_type: str, seed: int) -> None:
        self.model, self.data_type, self.seed = model, data_type, seed
        self.slots = [1 + model.choices]

    @classmethod
    def fit(cls, column: pa.Array, data_type: str, settings: EncodingSettings, seed: int) -> TextEncoder:
        values = [v for v in _texts(column) if v is not None]
        salt = f"{stream(seed, 'salt'):x}"
        return cls(StringModel.fit(values, settings.rare_entities, string_length(data_type), salt), data_type, seed)

    def encode(self, column: pa.Array) -> Tokens:
        values = _texts(column)
        return np.array([0 if v is None else 1 + self.model.choice_of(v) for v in values], dtype=np.int32).reshape(-1, 1)

    def decode(self, tokens: Tokens, draw: Draw) -> pa.Array:
        present = np.flatnonzero(tokens[:, 0] > 0)
        out = np.full(len(tokens), None, dtype=object)
        texts = self.model.draw(tokens[present, 0].astype(np.int64) - 1, draw.rows[present], draw.table_rows, stream(self.seed, "text"))
        out[present] = [text.encode(BYTE_BY_BYTE) for text in texts] if base_type(self.data_type) == "binary" else texts
        return pa.array(out, to_arrow(self.data_type))

    def to_json(self) -> dict[str, Any]:
        return {"model": self.model.to_json(), "data_type": self.data_type, "seed": self.seed}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> TextEncoder:
        return cls(StringModel.from_json(raw["model"]), raw["data_type"], raw["seed"])

    def changes(self, rows: int) -> list[str]:
        change = self.model.change(rows, unique=False)
        return [change] if change else []

    def lack(self, rows: int) -> str | None:
        return self.model.lack(rows, unique=False)

    def protections(self) -> list[str]:
        return ["written anew in the learned format; real values are kept out by a Bloom filter"]


def _texts(column: pa.Array) -> list[str | None]:
    return [v.decode(BYTE_BY_BYTE) if isinstance(v, bytes) else v for v in column.to_pylist()]


class UuidEncoder(Encoder):
    """A UUID that is no key: whether there is one is modelled, the UUID itself is drawn anew (version 4)."""

    tag = "uuid"

    def __init__(self, data_type: str) -> None:
        self.data_type = data_type
        self.slots = [2]

    def encode(self, column: pa.Array) -> Tokens:
        missing = np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)
        return np.where(missing, 0, 1).astype(np.int32)[:, None]

    def decode(self, tokens: Tokens, draw: Draw) -> pa.Array:
        words = [(draw.uniform(10 + lane) * 2**32).astype(np.uint64).tolist() for lane in range(4)]
        made = [str(uuid.UUID(int=(a << 96) | (b << 64) | (c << 32) | d, version=4)) for a, b, c, d in zip(*words, strict=True)]
        return pa.array(
            [text if token else None for text, token in zip(made, tokens[:, 0].tolist(), strict=True)], to_arrow(self.data_type)
        )

    def to_json(self) -> dict[str, Any]:
        return {"data_type": self.data_type}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> UuidEncoder:
        return cls(raw["data_type"])

    def protections(self) -> list[str]:
        return ["drawn anew"]
