"""Rows whose key is that of no parent: how many, and values for them that look like the key's and are neither a parent's nor real."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.config import ColumnSettings
from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.bloom import BloomFilter
from synth_engine.encode.keys import KeyGenerator
from synth_engine.errors import Terminal
from synth_engine.model.prepared import PreparedTable
from synth_engine.randomness import generator, stream

ROUNDS, SPARE = 5, 64
"""How often more values are made where too few are left, and how many more at least than are needed."""


@dataclass
class Orphans:
    """A key's orphans: their `share` of the rows, how many `different` values an orphan has on average, what makes the values, and
    which of them are those of `real` orphans."""

    share: float
    different: float
    keys: KeyGenerator
    real: BloomFilter

    @classmethod
    def of(
        cls, one: PreparedTable, key: int, parent: PreparedTable, settings: EncodingSettings, seed: int, wanted: ColumnSettings
    ) -> Orphans | None:
        """What there is to know of the orphans along a key of one column; None if the key has none. `wanted` is the format that
        settings give the column it refers to."""
        if not one.keys[key].orphan_share:
            return None
        column, parent_column = one.keys[key].columns[0], one.keys[key].parent_columns[0]
        known = parent.data[parent_column].drop_null()
        ids = one.data[column].drop_null()
        lost = pc.cast(ids.filter(pc.invert(pc.is_in(ids.cast(known.type, safe=False), known))), pa.string())
        names = lost.unique().to_pylist()
        stored = parent.table.column(parent_column).data_type
        usual = wanted.model_copy(update={"keep_values": False})  # a real value of another row is no value for an orphan
        keys = KeyGenerator.fit(known if len(known) else ids.unique(), stored, settings, stream(seed, "keys"), usual)
        salt = f"{stream(seed, 'orphans'):x}"
        return cls(len(lost) / max(one.rows, 1), len(names) / max(len(lost), 1), keys, BloomFilter.of(names, len(names), salt))

    def values(self, rows: int, unique: bool, taken: pa.Array, seed: int, start: int | None, label: str) -> pa.Array:
        """Values for so many orphans, shared as in the source, or all different; none of those `taken`. Raises `Terminal` naming the
        key `label` if no such values are left."""
        different = rows if unique or not rows else int(np.clip(round(rows * self.different), 1, rows))
        wanted = different + SPARE
        for attempt in range(ROUNDS):
            count = len(taken) + wanted * 2**attempt
            if lack := self.keys.lack(count):
                raise _no_values(label, lack)
            made = self.keys.generate(count, stream(seed, "orphans"), start)
            free = made.filter(pc.invert(pc.is_in(made, taken.cast(made.type).drop_null())))
            free = free.take(pa.array(generator(seed, "chosen", attempt).permutation(len(free))))
            unreal = [text not in self.real for text in pc.cast(free[: 2 * wanted], pa.string()).to_pylist()]
            free = free[: len(unreal)].filter(pa.array(unreal, pa.bool_()))
            if len(free) >= different:
                shared = (np.arange(rows) * different) // max(rows, 1)
                return free.take(pa.array(generator(seed, "shared").permutation(shared)))
        raise _no_values(label, f"{different} values are needed, {len(free)} are left")

    def to_json(self) -> dict[str, Any]:
        return {"share": self.share, "different": self.different, "keys": self.keys.to_json(), "real": self.real.to_json()}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Orphans:
        return cls(raw["share"], raw["different"], KeyGenerator.from_json(raw["keys"]), BloomFilter.from_json(raw["real"]))


def _no_values(label: str, lack: str) -> Terminal:
    return Terminal(
        f"Orphans of key {label} must have values that no parent has",
        value=lack,
        advice="ask for fewer rows, widen the column, or set policy.orphans: drop or null",
    )
