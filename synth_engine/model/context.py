"""What a row knows of its parents: their tokens, and what they know of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth_engine.model.devices import HOST, moved

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

    def arrays(self) -> Iterator[NDArray[Any]]:
        """Its links and tokens, some of them more than once: an ancestor may be reached by several ways."""
        yield from self.links
        yield from self.tokens
        for above in self.above:
            yield from above.arrays()

    def nearest(self, most: int) -> NDArray[np.int32]:
        """The first `most` context tokens of all rows: those of parents come before those of their parents."""
        return ResidentContext.of(self, HOST).first(torch.arange(self.rows), most).numpy()

    def of(self, rows: NDArray[np.int64]) -> Context:
        """The context of these rows, as links."""
        return Context(len(rows), tuple(link[rows] for link in self.links), self.tokens, self.above)


@dataclass(frozen=True)
class ResidentContext:
    """A context whose links and tokens lie on one device, where the tokens of a batch are put together."""

    context: Context
    device: torch.device
    links: tuple[Tensor, ...]
    tokens: tuple[Tensor, ...]
    above: tuple[ResidentContext, ...]

    @classmethod
    def of(cls, context: Context, device: torch.device) -> ResidentContext:
        """On the host they are those of the context itself, not copies."""
        there = {id(array): moved(array, device) for array in {id(array): array for array in context.arrays()}.values()}

        def resident(one: Context) -> ResidentContext:
            links, tokens = (tuple(there[id(array)] for array in arrays) for arrays in (one.links, one.tokens))
            return cls(one, device, links, tokens, tuple(map(resident, one.above)))

        return resident(context)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The context tokens of these rows (a tensor on the same device), shape (rows, width), int32."""
        return self.first(rows, MOST_CONTEXT)

    def first(self, rows: Tensor, most: int) -> Tensor:
        """The first `most` of them."""
        found = torch.zeros((len(rows), min(self.context.width, most)), dtype=torch.int32, device=self.device)
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


def _counted_from_one(tokens: Tensor, at: Tensor) -> Tensor:
    """The tokens of these rows, 0 where there is none (-1)."""
    if not len(tokens):
        return tokens.new_zeros((len(at), tokens.shape[1]))
    return tokens[at.clamp(min=0)].add_(1).masked_fill_((at < 0)[:, None], 0)


def _known_above(above: ResidentContext, at: Tensor, most: int) -> Tensor:
    if not above.context.rows or not most:
        return torch.zeros((len(at), min(above.context.width, most)), dtype=torch.int32, device=above.device)
    return above.first(at.clamp(min=0), most).masked_fill_((at < 0)[:, None], 0)
