"""Values of one or several columns as numbers that can be compared across tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    others: dict[str, int] = {}
    cast, apart = zip(*(_as_type(array, first, others) for array in arrays), strict=True)
    chunks = [chunk for a in cast for chunk in (a.chunks if isinstance(a, pa.ChunkedArray) else [a])]
    encoded = pa.chunked_array(chunks, first).combine_chunks()
    encoded = (pa.concat_arrays(encoded.chunks) if isinstance(encoded, pa.ChunkedArray) else encoded).dictionary_encode()
    indices = np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    codes, size = np.split(indices, np.cumsum([len(a) for a in arrays])[:-1]), len(encoded.dictionary)
    codes = [code if of is None else np.where(of >= 0, size + of, code) for code, of in zip(codes, apart, strict=True)]
    return codes, size + len(others)


def _as_type(
    array: pa.Array | pa.ChunkedArray, wanted: pa.DataType, others: dict[str, int]
) -> tuple[pa.Array | pa.ChunkedArray, NDArray[np.int64] | None]:
    """The values as this type, null where that has none of them, and the numbers of those in `others`, where they are added (-1 of
    all others): text among numbers or a fraction among integers is equal to none of them."""
    if array.type == wanted:
        return array, None
    try:
        return array.cast(wanted), None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        encoded = (pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole).dictionary_encode()
        values = list(encoded.dictionary)
        found = [_as_type_of_one(value, wanted) for value in values]
        apart = [-1 if one is not None else others.setdefault(str(value), len(others)) for value, one in zip(values, found, strict=True)]
        indices = pc.fill_null(encoded.indices, len(found))
        numbers = np.array([*apart, -1], dtype=np.int64)[indices.to_numpy(zero_copy_only=False)]
        return pa.array([*found, None], wanted).take(indices), numbers


def _as_type_of_one(value: pa.Scalar, wanted: pa.DataType) -> Any:
    try:
        return value.cast(wanted).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _compressed(codes: list[NDArray[np.int64]]) -> tuple[list[NDArray[np.int64]], int]:
    """The same with numbers as small as can be."""
    distinct, inverse = np.unique(np.concatenate(codes), return_inverse=True)
    return np.split(inverse.reshape(-1).astype(np.int64), np.cumsum([len(c) for c in codes])[:-1]), len(distinct)
