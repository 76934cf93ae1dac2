"""What a row knows of its parents: their tokens, and what they know of theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_CONTEXT = 160
"""Context tokens of a row; what lies further (ancestors of ancestors) is left out first."""


@dataclass(frozen=True)
class Context:
    """Context tokens of `rows` rows: held as links, and put together only for the rows asked for (whole, they would be many
    times the table).

    For each parent table, `links` holds every row's parent (-1: none), `tokens` the parents' tokens and `above` what those know
    (left out where it is not wanted).
    A missing parent's token is 0, so the others count from 1; what its parents would tell is 0, too.
    """

    rows: int
    links: tuple[NDArray[np.int64], ...] = ()
    tokens: tuple[NDArray[np.int32], ...] = ()
    above: tuple[Context, ...] = ()

    @property
    def width(self) -> int:
        """Tokens of a row."""
        return min(sum(int(t.shape[1]) for t in self.tokens) + sum(a.width for a in self.above), MOST_CONTEXT)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The context tokens of these rows, shape (rows, width)."""
        return self._first(rows, MOST_CONTEXT)

    def nearest(self, most: int) -> NDArray[np.int32]:
        """The first `most` context tokens of all rows: those of parents come before those of their parents."""
        return self._first(np.arange(self.rows), most)

    def _first(self, rows: NDArray[np.int64], most: int) -> NDArray[np.int32]:
        found = np.zeros((len(rows), min(self.width, most)), np.int32)
        filled = 0
        for tokens, link in zip(self.tokens, self.links, strict=True):
            part = tokens[:, : found.shape[1] - filled]
            found[:, filled : filled + part.shape[1]] = _counted_from_one(part, link[rows])
            filled += part.shape[1]
        for above, link in zip(self.above, self.links, strict=False):
            part = _known_above(above, link[rows], found.shape[1] - filled)
            found[:, filled : filled + part.shape[1]] = part
            filled += part.shape[1]
        return found

    def of(self, rows: NDArray[np.int64]) -> Context:
        """The context of these rows, as links."""
        return Context(len(rows), tuple(link[rows] for link in self.links), self.tokens, self.above)


def _counted_from_one(tokens: NDArray[np.int32], at: NDArray[np.int64]) -> NDArray[np.int32]:
    """The tokens of these rows, 0 where there is none (-1)."""
    if not len(tokens):
        return np.zeros((len(at), tokens.shape[1]), np.int32)
    found = tokens[np.maximum(at, 0)] + np.int32(1)
    found[at < 0] = 0
    return found


def _known_above(above: Context, at: NDArray[np.int64], most: int) -> NDArray[np.int32]:
    if not above.rows or not most:
        return np.zeros((len(at), min(above.width, most)), np.int32)
    found = above._first(np.maximum(at, 0), most)
    found[at < 0] = 0
    return found
