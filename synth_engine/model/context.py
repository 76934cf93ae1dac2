"""What a row knows of its parents: their tokens, and what they know of theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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

    @property
    def size(self) -> int:
        """Bytes of its links and tokens."""
        return sum(a.nbytes for a in self.links) + sum(t.nbytes for t in self.tokens) + sum(above.size for above in self.above)

    def nearest(self, most: int) -> NDArray[np.int32]:
        """The first `most` context tokens of all rows: those of parents come before those of their parents."""
        return ResidentContext.of(self, torch.device("cpu")).first(torch.arange(self.rows), most).numpy()

    def of(self, rows: NDArray[np.int64]) -> Context:
        """The context of these rows, as links."""
        return Context(len(rows), tuple(link[rows] for link in self.links), self.tokens, self.above)


def home_of(device: torch.device, size: int, context: Context | None) -> torch.device:
    """Where tokens of `size` bytes and their context are kept while a network on this device works on them: there, if they take up
    at most half of what memory it has free; else the host's memory, from where they are moved batch by batch."""
    if device.type != "cuda":
        return device
    free, _ = torch.cuda.mem_get_info(device)
    return device if size + (0 if context is None else context.size) <= free // 2 else torch.device("cpu")


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
        """On the CPU they are those of the context itself, not copies."""
        links, tokens = (tuple(torch.from_numpy(a).to(device) for a in arrays) for arrays in (context.links, context.tokens))
        return cls(context, device, links, tokens, tuple(cls.of(above, device) for above in context.above))

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The context tokens of these rows, shape (rows, width), int32."""
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
