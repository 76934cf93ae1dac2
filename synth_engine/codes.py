"""Values of one or several columns as numbers that can be compared across tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

LARGEST = 1 << 62


def joint_codes(columns: Sequence[Sequence[pa.Array | pa.ChunkedArray]]) -> list[NDArray[np.int64]]:
    """Equal rows get equal numbers. `columns` holds, for each column, its array in each of the tables compared; the result
    has one array for each table, with -1 for rows that hold a null."""
    tables = len(columns[0])
    total = [np.zeros(len(array), dtype=np.int64) for array in columns[0]]
    missing = [np.zeros(len(array), dtype=np.bool_) for array in columns[0]]
    size = 1
    for arrays in columns:
        codes, distinct = _codes(arrays)
        if size * max(distinct, 1) >= LARGEST:
            total, size = _compressed(total)
        for t in range(tables):
            total[t] = total[t] * max(distinct, 1) + np.maximum(codes[t], 0)
            missing[t] |= codes[t] < 0
        size *= max(distinct, 1)
    return [np.where(gone, -1, code) for code, gone in zip(total, missing, strict=True)]


def _codes(arrays: Sequence[pa.Array | pa.ChunkedArray]) -> tuple[list[NDArray[np.int64]], int]:
    """Numbers of the values of one column in each table (-1 is null), and how many there are."""
    first = arrays[0].type
    cast = [a if a.type == first else a.cast(first, safe=False) for a in arrays]
    chunks = [chunk for a in cast for chunk in (a.chunks if isinstance(a, pa.ChunkedArray) else [a])]
    encoded = pa.chunked_array(chunks, first).combine_chunks()
    encoded = (pa.concat_arrays(encoded.chunks) if isinstance(encoded, pa.ChunkedArray) else encoded).dictionary_encode()
    indices = np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    return np.split(indices, np.cumsum([len(a) for a in arrays])[:-1]), len(encoded.dictionary)


def _compressed(codes: list[NDArray[np.int64]]) -> tuple[list[NDArray[np.int64]], int]:
    """The same with numbers as small as can be."""
    distinct, inverse = np.unique(np.concatenate(codes), return_inverse=True)
    return np.split(inverse.reshape(-1).astype(np.int64), np.cumsum([len(c) for c in codes])[:-1]), len(distinct)
