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
        links = [link[rows] for link in self.links]
        own = [_gathered(tokens, at, 1) for tokens, at in zip(self.tokens, links, strict=True)]
        further = [_known_above(above, at) for above, at in zip(self.above, links, strict=False) if above.width]
        blocks = own + further
        return np.concatenate(blocks, axis=1)[:, :MOST_CONTEXT] if blocks else np.zeros((len(rows), 0), np.int32)

    def whole(self) -> NDArray[np.int32]:
        """The context tokens of all rows."""
        return self[np.arange(self.rows)]

    def of(self, rows: NDArray[np.int64]) -> Context:
        """The context of these rows, as links."""
        return Context(len(rows), tuple(link[rows] for link in self.links), self.tokens, self.above)


def _gathered(tokens: NDArray[np.int32], at: NDArray[np.int64], shift: int) -> NDArray[np.int32]:
    if not len(tokens):
        return np.zeros((len(at), tokens.shape[1]), np.int32)
    found = tokens[np.maximum(at, 0)] + np.int32(shift)
    found[at < 0] = 0
    return found


def _known_above(above: Context, at: NDArray[np.int64]) -> NDArray[np.int32]:
    if not above.rows:
        return np.zeros((len(at), above.width), np.int32)
    found = above[np.maximum(at, 0)]
    found[at < 0] = 0
    return found
