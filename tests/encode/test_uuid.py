"""UUIDs that are no key: drawn anew, nulls kept."""

from __future__ import annotations

import uuid

import numpy as np
import pyarrow as pa

from synth_engine.encode.base import Draw
from synth_engine.encode.text import UuidEncoder
from synth_engine.randomness import uniforms


def test_uuids_come_out_as_new_valid_uuids_and_nulls_stay() -> None:
    real = [str(uuid.UUID(int=i, version=4)) for i in range(50)] + [None]
    encoder = UuidEncoder.from_json(UuidEncoder("uuid").to_json())
    rows = np.arange(len(real))
    out = encoder.decode(encoder.encode(pa.array(real)), Draw(rows, len(real), lambda lane: uniforms(7, rows, lane))).to_pylist()
    assert out[-1] is None
    assert all(uuid.UUID(text).version == 4 for text in out[:-1])
    assert len(set(out)) == len(out)
    assert not set(out[:-1]) & set(real)
