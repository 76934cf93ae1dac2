"""Categories: a token for each value that enough entities have. Rare values share one, whose place frequent ones take (see `rare`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, Encoder, EncodingSettings, Tokens, entity_count_of_values
from synth_engine.encode.values import hex_digits
from synth_engine.schema.types import base_type, to_arrow

NULL, RARE, FIRST_VALUE = 0, 1, 2


class CategoryEncoder(Encoder):
    """Values of any type that repeat. One slot: null, rare, then `values` by falling frequency."""

    tag = "category"

    def __init__(self, values: pa.Array, weights: list[float], data_type: str, rare_share: float) -> None:
        self.values, self.weights, self.data_type, self.rare_share = values, weights, data_type, rare_share
        self.slots = [2 + len(values)]

    @classmethod
    def fit(cls, column: pa.Array, data_type: str, entity: NDArray[np.int64], settings: EncodingSettings) -> CategoryEncoder:
        encoded = column.dictionary_encode()
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        size = len(encoded.dictionary)
        counts = np.bincount(codes[codes >= 0], minlength=size)
        frequent = entity_count_of_values(codes, entity, size) >= settings.rare_entities
        order = np.argsort(-counts, kind="stable")
        order = order[frequent[order]]
        total = max(int(counts.sum()), 1)
        if not len(order) and counts.sum() and base_type(data_type) == "boolean":
            return cls(pa.array([False, True]), [0.5, 0.5], data_type, 1.0)  # the type tells its values, the rows need not
        return cls(
            encoded.dictionary.take(pa.array(order)), (counts[order] / total).tolist(), data_type, float(counts[~frequent].sum()) / total
        )

    def encode(self, column: pa.Array) -> Tokens:
        found = pc.index_in(column, value_set=self.values)  # null where the value is none of them
        tokens = np.asarray(pc.fill_null(found, RARE - 2).to_numpy(zero_copy_only=False), dtype=np.int32) + 2
        tokens[column.is_null().to_numpy(zero_copy_only=False)] = NULL
        return tokens[:, None]

    def decode(self, tokens: Tokens, draw: Draw) -> pa.Array:
        token = tokens[:, 0].astype(np.int64)
        if not len(self.values):
            return pa.nulls(len(token), to_arrow(self.data_type))
        rare = token == RARE
        if rare.any():
            share = np.cumsum(self.weights)
            drawn = np.searchsorted(share, draw.uniform(0)[rare] * share[-1], side="right")
            token[rare] = 2 + np.minimum(drawn, len(share) - 1)
        return self.values.take(pa.array(np.maximum(token - 2, 0), mask=token == NULL))

    def to_json(self) -> dict[str, Any]:
        return {
            "values": _to_texts(self.values, self.data_type),
            "weights": self.weights,
            "data_type": self.data_type,
            "rare_share": self.rare_share,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> CategoryEncoder:
        return cls(_from_texts(raw["values"], raw["data_type"]), raw["weights"], raw["data_type"], raw["rare_share"])

    def protections(self) -> list[str]:
        if not self.rare_share:
            return []
        if not len(self.values):
            return ["every value is rare: the column is written as null"]
        return [f"rare values ({self.rare_share:.2%} of the rows) come out as frequent enough ones, the less frequent first"]


def _to_texts(values: pa.Array, data_type: str) -> list[str]:
    """Values as JSON can hold them. Arrow reads neither times nor bytes from text: microseconds and hex digits stand for them."""
    if base_type(data_type) == "binary":
        return list(hex_digits(values).to_pylist())
    texts: list[str] = (values.cast(pa.int64()) if base_type(data_type) == "time" else values).cast(pa.string()).to_pylist()
    return texts


def _from_texts(texts: Sequence[str], data_type: str) -> pa.Array:
    if base_type(data_type) == "binary":
        return pa.array([bytes.fromhex(text) for text in texts], to_arrow(data_type))
    values = pa.array(texts, pa.string())
    return (values.cast(pa.int64()) if base_type(data_type) == "time" else values).cast(to_arrow(data_type))
