"""What a network learns by heart is held back while it trains, slot by slot.

A network tells the rows it learned from better than others. How much better, in relation to all that it has learned of a slot
beyond how frequent the tokens are, is what it knows by heart; weights of such a slot are given up in proportion, and those of
tokens that have an order are drawn towards their neighbours'. Slots of which what was learned holds for other rows are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth_engine.encode.base import Floats
from synth_engine.model.network import RowNetwork

TOLERATED, MOST = 0.1, 0.6
"""Shares known by heart from which on a slot is held back, and is held back with full strength."""
DECAY, PULL = 5.0, 20.0
"""At full strength, in units of the learning rate: how fast weights shrink, and how fast they approach the mean of their neighbours'."""
FEW = 50.0
"""Held-out tokens by which a share is believed by half: of a handful it is chance."""
LEAST_LEARNED = 0.02
"""Nats that a slot counts as having learned beside what it has: shares of next to nothing are chance, too."""
INERTIA = 0.5
"""Weight of the strength before when it is found anew."""


class Restraint:
    """Holds back `network`, of whose slots `positions` give the natural order of tokens, where they have one (empty: of none).

    `frequencies` is each slot's loss on held-out rows by the frequencies of its tokens alone, in nats a token.
    """

    def __init__(self, network: RowNetwork, positions: Sequence[Floats | None], frequencies: Tensor) -> None:
        self.network, self.frequencies = network, frequencies
        self.strength: Tensor | None = None
        self.holds = False
        sizes = network.shape.slots
        found = positions or [None] * len(sizes)
        between = [_neighbours(size, order) for size, order in zip(sizes, found, strict=True)]
        offset, device = np.cumsum([0, *sizes[:-1]]), network.embed.weight.device
        of_embeddings = np.concatenate([pair + at for pair, at in zip(between, offset, strict=True)], axis=1)
        of_heads = [np.stack([_padded(between[slot], largest) for slot in slots], axis=1) for slots, largest in network.buckets]
        self.of_embeddings = torch.from_numpy(of_embeddings).to(device)
        self.of_heads = [torch.from_numpy(of_bucket).to(device) for of_bucket in of_heads]

    def judge(self, learned_from: Tensor, held_out: Tensor) -> None:
        """Find each slot's strength, in [0, 1], from its losses on rows learned from and on held-out ones: each (2, slots), as
        `RowNetwork.slot_losses` gives them."""
        known, unknown = (losses[0] / losses[1].clamp(min=1) for losses in (learned_from, held_out))
        by_heart = (unknown - known).clamp(min=0)
        learned = torch.maximum(self.frequencies, unknown) - known + LEAST_LEARNED
        share = by_heart / learned.clamp(min=LEAST_LEARNED)
        found = ((share - TOLERATED) / (MOST - TOLERATED)).clamp(0, 1) * held_out[1] / (held_out[1] + FEW)
        found = found.to(self.network.embed.weight)
        self.strength = found if self.strength is None else INERTIA * self.strength + (1 - INERTIA) * found
        self.holds = bool(self.strength.any())  # to ask a GPU at every step would be to wait for it

    @torch.no_grad()
    def hold_back(self, rate: float) -> None:
        """Follow up an optimiser's step of this learning rate."""
        if self.strength is None or not self.holds:
            return
        network, pull, keep = self.network, PULL * rate * self.strength, 1 - DECAY * rate * self.strength
        # embeddings serve all slots, so they are drawn by what is known by heart on average
        _draw(network.embed.weight.T, self.of_embeddings, pull.mean())
        for (slots, _), head, neighbours in zip(network.buckets, network.heads, self.of_heads, strict=True):
            _draw(head, neighbours[:, :, None, :], pull[slots][:, None, None])
            head.mul_(keep[slots][:, None, None])
        network.inputs.mul_(keep[:, None])


def frequency_losses(
    tokens: NDArray[np.int32], learn: NDArray[np.bool_] | None, held_out: NDArray[np.bool_], sizes: Sequence[int]
) -> Tensor:
    """What the frequencies of tokens among the rows learned from tell of held-out ones: nats a token, for each slot."""
    known = np.ones(tokens.shape, np.bool_) if learn is None else learn
    losses = np.zeros(len(sizes))
    for slot, size in enumerate(sizes):
        seen, unseen = (tokens[rows & known[:, slot], slot] for rows in (~held_out, held_out))
        frequency = np.bincount(seen, minlength=size) + 0.5
        losses[slot] = -np.log(frequency / frequency.sum())[unseen].mean() if len(unseen) else 0.0
    return torch.from_numpy(losses)


def _neighbours(size: int, positions: Floats | None) -> NDArray[np.int64]:
    """The tokens before and after each in their natural order, shape (2, tokens): at the ends twice the only one, and without an order
    the token itself."""
    found = np.tile(np.arange(size), (2, 1))
    if positions is None or len(positions) != size:
        return found
    known = np.flatnonzero(~np.isnan(positions))
    order = known[np.argsort(positions[known], kind="stable")]
    if len(order) > 1:
        found[0, order] = np.r_[order[1], order[:-1]]
        found[1, order] = np.r_[order[1:], order[-2]]
    return found


def _padded(pair: NDArray[np.int64], largest: int) -> NDArray[np.int64]:
    return np.concatenate([pair, np.tile(np.arange(pair.shape[1], largest), (2, 1))], axis=1)


def _draw(weights: Tensor, neighbours: Tensor, share: Tensor) -> None:
    """Move weights (…, tokens) in place so far towards the mean of those of their neighbours (2, …, tokens)."""
    before, after = (weights.gather(-1, one.expand(weights.shape)) for one in neighbours)
    weights.lerp_((before + after) / 2, share)
