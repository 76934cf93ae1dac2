"""What a network learns by heart is held back while it trains, slot by slot.

A network tells the rows it learned from better than others. How much better, in relation to all that it has learned of a slot
beyond how frequent the tokens are, is what it knows by heart. Of such a slot the weights from other slots and those to its
tokens shrink in proportion, and the latter, where tokens have an order, are drawn towards their neighbours'. Slots of which what
was learned is true of other rows, as far as chance lets tell, are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth_engine.encode.base import Floats
from synth_engine.model.network import RowNetwork

FULL = 0.5
"""Share known by heart from which on a slot is restrained with full strength."""
SHRINKING, PULL = 5.0, 20.0
"""At full strength, in units of the learning rate: how fast weights shrink, and how fast they approach the mean of their neighbours'."""
STANDARD_ERRORS = 1.0
"""By how many of its standard errors a difference of two losses is taken to be smaller: chance is nothing known by heart."""
FEW = 50.0
"""A share that n tokens tell of counts by n / (n + FEW): a handful does not know its own standard error."""
LEAST_LEARNED = 0.02
"""Nats that a slot counts as having learned beside what it has: a share of next to nothing is nothing."""
INERTIA, LEAST_STRENGTH = 0.5, 0.01
"""Weight of the strength before when it is found anew, and what counts as none."""


class Restraint:
    """Restrains `network`, of whose slots `positions` give the natural order of tokens, where they have one (empty: of none).

    `frequencies` is each slot's loss on held-out rows by the frequencies of its tokens alone, in nats a token.
    """

    def __init__(self, network: RowNetwork, positions: Sequence[Floats | None], frequencies: Tensor) -> None:
        self.network, self.frequencies = network, frequencies
        self.strength = torch.zeros(len(network.shape.slots), dtype=torch.float64)
        self.there = self.strength.to(network.embed.weight)
        """The same, where the network is."""
        self.judged = self.active = False  # to ask a GPU at every step whether any slot is restrained would be to wait for it
        sizes = network.shape.slots
        pairs = [_neighbours(size, order) for size, order in zip(sizes, positions or [None] * len(sizes), strict=True)]
        offsets = np.cumsum([0, *sizes[:-1]])
        self.of_embeddings = self._moved(np.concatenate([pair + at for pair, at in zip(pairs, offsets, strict=True)], axis=1))
        self.of_heads = [
            self._moved(np.stack([_padded(pairs[slot], largest) for slot in slots], axis=1)) for slots, largest in network.buckets
        ]

    def judge(self, learned_from: Tensor, held_out: Tensor) -> None:
        """Find each slot's strength, in [0, 1], from its losses on rows learned from and on held-out ones: each (3, slots), as
        `RowNetwork.slot_losses` gives them."""
        (known, known_error), (unseen, unseen_error) = _means(learned_from), _means(held_out)
        by_heart = (unseen - known - STANDARD_ERRORS * (known_error + unseen_error).sqrt()).clamp(min=0)
        share = by_heart / (torch.maximum(self.frequencies, unseen) - known + LEAST_LEARNED).clamp(min=LEAST_LEARNED)
        tokens = torch.minimum(learned_from[2], held_out[2])
        found = (share / FULL).clamp(max=1) * tokens / (tokens + FEW)
        strength = INERTIA * self.strength + (1 - INERTIA) * found if self.judged else found
        self.strength, self.judged = torch.where(strength < LEAST_STRENGTH, 0.0, strength), True
        self.active = bool(self.strength.any())
        self.there = self.strength.to(self.there)

    @torch.no_grad()
    def restrain(self, rate: float) -> None:
        """Follow up an optimiser's step of this learning rate."""
        if not self.active:
            return
        network, pull, keep = self.network, PULL * rate * self.there, 1 - SHRINKING * rate * self.there
        # embeddings serve all slots, so they are drawn by what is known by heart on average
        _draw(network.embed.weight.T, self.of_embeddings, pull.mean())
        for i, (head, neighbours) in enumerate(zip(network.heads, self.of_heads, strict=True)):
            slots = getattr(network, f"members_{i}")
            _draw(head, None if neighbours is None else neighbours[:, :, None, :], pull[slots][:, None, None])
            head.mul_(keep[slots][:, None, None])
        network.inputs.mul_(keep[:, None])

    def _moved(self, neighbours: NDArray[np.int64]) -> Tensor | None:
        """Where the network is; None where no token has a neighbour, which there is nothing to do for."""
        alone = np.broadcast_to(np.arange(neighbours.shape[-1]), neighbours.shape)
        return None if np.array_equal(neighbours, alone) else torch.from_numpy(neighbours).to(self.there.device)


def frequency_losses(
    tokens: NDArray[np.int32],
    learn: NDArray[np.bool_] | None,
    learned_from: NDArray[np.int64],
    held_out: NDArray[np.int64],
    sizes: Sequence[int],
) -> Tensor:
    """What the frequencies of tokens in the rows learned from tell of those in held-out ones, both given by their numbers: nats a token,
    for each slot. `learn` marks the tokens that count, shape (rows, slots) as `tokens`."""
    losses = np.zeros(len(sizes))
    for slot, size in enumerate(sizes):
        known, unseen = (tokens[rows if learn is None else rows[learn[rows, slot]], slot] for rows in (learned_from, held_out))
        counts = np.bincount(known, minlength=size) + 0.5
        losses[slot] = -np.log(counts / counts.sum())[unseen].mean() if len(unseen) else 0.0
    return torch.from_numpy(losses)


def _means(losses: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss of each slot, and the square of its standard error."""
    total, squares, tokens = losses[0], losses[1], losses[2].clamp(min=1)
    mean = total / tokens
    return mean, (squares / tokens - mean**2).clamp(min=0) / tokens


def _neighbours(size: int, positions: Floats | None) -> NDArray[np.int64]:
    """The tokens before and after each in their natural order, shape (2, tokens): at the ends twice the only one, and without an order
    the token itself. (Steps from several references have one order: a short step's neighbours are short ones from any of them.)"""
    pair = np.tile(np.arange(size), (2, 1))
    if positions is None or len(positions) != size:
        return pair
    placed = np.flatnonzero(~np.isnan(positions))
    order = placed[np.argsort(positions[placed], kind="stable")]
    if len(order) > 1:
        pair[0, order] = np.r_[order[1], order[:-1]]
        pair[1, order] = np.r_[order[1:], order[-2]]
    return pair


def _padded(pair: NDArray[np.int64], largest: int) -> NDArray[np.int64]:
    return np.concatenate([pair, np.tile(np.arange(pair.shape[1], largest), (2, 1))], axis=1)


def _draw(weights: Tensor, neighbours: Tensor | None, share: Tensor) -> None:
    """Move weights (…, tokens) in place so far towards the mean of those of their neighbours (2, …, tokens)."""
    if neighbours is not None:
        before, after = (weights.gather(-1, one.expand(weights.shape)) for one in neighbours)
        weights.lerp_((before + after) / 2, share)
