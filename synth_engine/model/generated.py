"""A synthetic table before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.model.context import Context


@dataclass
class GeneratedTable:
    """Tokens, the parent row of each key (-1: none), and the columns that had to be materialised because other rows
    depend on them. `taken` has for columns that rows of one parent share the row each takes its value from."""

    name: str
    rows: int
    tokens: NDArray[np.int32]
    context: Context
    parents: list[NDArray[np.int64]]
    degrees: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    columns: dict[str, pa.Array] = field(default_factory=dict)
    values: dict[str, Floats] = field(default_factory=dict)
    taken: dict[str, NDArray[np.int64]] = field(default_factory=dict)
