"""The row model: a masked autoregressive network over the tokens of a row, conditioned on parents and earlier siblings.

All slots are predicted in a handful of batched products: one masked product from all embeddings to every slot's hidden
layer, one batched product a slot for depth, and one head for all slots of like vocabulary size. Columns are drawn in the table's
order, which is what the network learns; random orders during training (a mask, nothing else) make it serve any order, at a price.
Sources: Germain et al., "MADE", ICML 2015, for the mask; Tiwald et al., "TabularARGN", 2025, for any-order training on discretised
tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

POSITION_FEATURES = 6
NEVER = 1e-9
"""Chance that a token which never occurs starts with."""
WAVES = 6
"""Cosines that a smooth start is mixed from."""
BLOCKS = 4
"""Parts that the product over slots in their own order is taken in."""
UNLEARNED = -100
"""Stands for tokens that nothing is learned from (PyTorch's cross-entropy leaves it out)."""
WINDOW = 32
"""Rows of a sequence after which the recurrent state starts anew (the previous row stays known)."""


@dataclass(frozen=True)
class NetworkShape:
    """Everything needed to build the network before its weights are loaded.

    `slots` are vocabulary sizes, `columns` the column each slot belongs to (ascending), `context`
    the vocabulary sizes of the context tokens (token 0 is a missing parent).
    """

    slots: tuple[int, ...]
    columns: tuple[int, ...]
    context: tuple[int, ...]
    sequential: bool
    embedding: int = 16
    hidden: int = 64
    recurrent: int = 128

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> NetworkShape:
        return cls(**{**raw, **{k: tuple(raw[k]) for k in ("slots", "columns", "context")}})


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers too small to matter count as zero meanwhile: on CPU they cost a hundred times the others."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def half_precision(device: torch.device) -> torch.autocast:
    """A context in which a GPU with units for it takes products in bfloat16; elsewhere it changes nothing. Weights and losses stay
    in single precision. (On CPUs with such units the many small shapes of sequences cost more than the products gain.)"""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def order_mask(columns: tuple[int, ...], rank: np.ndarray | None = None) -> Tensor:
    """Which slot (row) may inform which slot (column), given the rank of each table column in the drawing order."""
    column = np.array(columns)
    rank = np.arange(column.max() + 1) if rank is None else rank
    slot = np.arange(len(column))
    earlier = rank[column][:, None] < rank[column][None, :]
    same = (column[:, None] == column[None, :]) & (slot[:, None] < slot[None, :])
    return torch.from_numpy((earlier | same).astype(np.float32))


class RowNetwork(nn.Module):
    """Tokens (rows, slots) in, hidden layers (rows, slots, hidden) and from them one distribution a slot out."""

    def __init__(self, shape: NetworkShape, dropout: float = 0.1) -> None:
        super().__init__()
        self.shape = shape
        slots, e, h = len(shape.slots), shape.embedding, shape.hidden
        self.offset: Tensor
        self.register_buffer("offset", torch.tensor(np.concatenate([[0], np.cumsum(shape.slots)[:-1]]), dtype=torch.long), persistent=False)
        self.embed = nn.Embedding(sum(shape.slots), e)
        self.inputs = nn.Parameter(torch.randn(slots, e, slots, h) * (1.0 / np.sqrt(max(slots, 1) * e / 2)))
        self.related: Tensor
        self.register_buffer("related", torch.ones(slots, slots), persistent=False)
        self.own_order: Tensor
        self.register_buffer("own_order", order_mask(shape.columns) if slots else torch.zeros(0, 0), persistent=False)
        self.bias = nn.Parameter(torch.zeros(slots, h))
        self.deeper = nn.Parameter(torch.randn(slots, h, h) * (0.5 / np.sqrt(h)))
        self.deeper_bias = nn.Parameter(torch.zeros(slots, h))
        self.dropout = dropout
        side = POSITION_FEATURES if shape.sequential else 0
        if shape.context:
            offset = np.concatenate([[0], np.cumsum(shape.context)[:-1]])
            self.context_offset: Tensor
            self.register_buffer("context_offset", torch.tensor(offset, dtype=torch.long), persistent=False)
            self.context_embed = nn.Embedding(sum(shape.context), e // 2)
            self.context_layer = nn.Linear(len(shape.context) * (e // 2), 2 * h)
            side += 2 * h
        if shape.sequential:
            self.row_layer = nn.Linear(slots * e, h)
            self.recurrent = nn.GRU(h, shape.recurrent, batch_first=True)
            side += h + shape.recurrent
        self.side = nn.Linear(side, slots * h, bias=False) if side else None
        self._make_heads()

    def _make_heads(self) -> None:
        """Heads of like vocabulary size share one tensor, padded to the largest of them."""
        buckets: dict[int, list[int]] = {}
        for slot, size in enumerate(self.shape.slots):
            buckets.setdefault(int(np.ceil(np.log2(max(size, 2)))), []).append(slot)
        self.buckets = [(slots, max(self.shape.slots[s] for s in slots)) for _, slots in sorted(buckets.items())]
        h = self.shape.hidden
        self.heads = nn.ParameterList([nn.Parameter(torch.randn(len(s), h, v) * (0.5 / np.sqrt(h))) for s, v in self.buckets])
        self.head_bias = nn.ParameterList([nn.Parameter(torch.zeros(len(s), v)) for s, v in self.buckets])
        for i, (members, largest) in enumerate(self.buckets):
            sizes = torch.tensor([self.shape.slots[s] for s in members])
            self.register_buffer(f"outside_{i}", torch.arange(largest)[None, :] >= sizes[:, None], persistent=False)
            self.register_buffer(f"members_{i}", torch.tensor(members), persistent=False)  # a list would be moved anew at every step
        self.home = {slot: (i, j) for i, (slots, _) in enumerate(self.buckets) for j, slot in enumerate(slots)}

    def start_from_frequencies(self, tokens: np.ndarray, learn: np.ndarray | None) -> None:
        """Set the output biases to the log frequencies of the tokens: a better start than none. Tokens that never occur
        start so low that they are never drawn."""
        for slot, size in enumerate(self.shape.slots):
            seen = tokens[:, slot] if learn is None else tokens[learn[:, slot], slot]
            frequency = np.bincount(seen, minlength=size) / max(len(seen), 1) + NEVER
            bucket, place = self.home[slot]
            with torch.no_grad():
                self.head_bias[bucket][place, :size] = torch.from_numpy(np.log(frequency).astype(np.float32))

    def start_in_order(self, slots: Sequence[np.ndarray | None], context: Sequence[np.ndarray | None]) -> None:
        """Let tokens that are neighbours in their natural order start with like embeddings and like outputs: what a
        small table teaches about one bin then serves the next."""
        with torch.no_grad():
            _in_order(self.embed.weight, self.shape.slots, slots)
            if self.shape.context:
                _in_order(self.context_embed.weight, self.shape.context, context)
            for slot, positions in enumerate(slots):
                if positions is not None:
                    bucket, place = self.home[slot]
                    weights = self.heads[bucket][place, :, : len(positions)].T
                    self.heads[bucket][place, :, : len(positions)] = _smooth(weights, positions).T

    def start_from_company(self, slot: int, company: np.ndarray) -> None:
        """Let tokens of a slot that occur with the same others, shape (tokens, features), start with like embeddings and like outputs:
        what is learned of one category then serves those of which there are few rows."""
        known = torch.from_numpy(company)
        start, size = int(self.offset[slot]), self.shape.slots[slot]
        bucket, place = self.home[slot]
        with torch.no_grad():
            self.embed.weight[start : start + size] = _mixed(known, self.embed.weight[start : start + size])
            self.heads[bucket][place, :, :size] = _mixed(known, self.heads[bucket][place, :, :size].T).T

    def start_related(self, related: np.ndarray) -> None:
        """Let only slots that tell something of each other inform each other, shape (slots, slots). The weights of the others are zero
        from the start and stay so; those of the few start larger, as those of a narrow table do."""
        with torch.no_grad():
            self.related.copy_(torch.from_numpy(related.astype(np.float32)))
            share = self.related.mean(dim=0)
            self.inputs.mul_((self.related / share.clamp(min=1e-6).sqrt())[:, None, :, None])

    # -- pieces shared by training and generation --------------------------------------------------------------------

    def embedded(self, tokens: Tensor) -> Tensor:
        """(rows, slots) -> (rows, slots, embedding)."""
        found: Tensor = self.embed(tokens + self.offset)
        return found

    def context_vector(self, context: Tensor) -> Tensor:
        """(rows, context tokens) -> (rows, 2 * hidden)."""
        flat = self.context_embed(context + self.context_offset).flatten(1)
        return functional.relu(self.context_layer(flat))

    def row_vector(self, embedded: Tensor) -> Tensor:
        """What later siblings are told of a row: (…, slots, embedding) -> (…, hidden)."""
        return functional.relu(self.row_layer(embedded.flatten(-2)))

    def side_input(self, context: Tensor | None, position: Tensor | None, history: Tensor | None) -> Tensor | None:
        """Contribution of everything but the row itself to all hidden layers: (rows, slots * hidden)."""
        parts = [self.context_vector(context)] if context is not None and self.shape.context else []
        parts += [p for p in (position, history) if p is not None]
        return self.side(torch.cat(parts, dim=1)) if parts and self.side is not None else None

    # -- training ------------------------------------------------------------------------------------------------------

    def hidden(self, embedded: Tensor, mask: Tensor | None, side: Tensor | None) -> Tensor:
        """Hidden layers of all slots at once: (rows, slots, embedding) -> (rows, slots, hidden). `mask` says which slot may inform
        which (see `order_mask`); None is the table's own order."""
        slots, h = len(self.shape.slots), self.shape.hidden
        first = self._in_own_order(embedded) if mask is None else self._in_order_of(embedded, mask)
        if side is not None:
            first = first + side
        first = first.view(-1, slots, h) + self.bias  # a straight way besides the bent one: most of what columns tell is straight
        second = torch.baddbmm(self.deeper_bias[:, None, :], first.transpose(0, 1), self.deeper).transpose(0, 1)
        return self._dropped(first + functional.relu(second))

    def _in_order_of(self, embedded: Tensor, mask: Tensor) -> Tensor:
        weights = (self.inputs * (mask * self.related)[:, None, :, None]).flatten(2).flatten(0, 1)
        return embedded.flatten(1) @ weights

    def _in_own_order(self, embedded: Tensor) -> Tensor:
        """The same in the table's own order, where a slot is informed by slots before it only: block by block, without most of the
        zeros."""
        mask, flat, start, blocks = self.own_order * self.related, embedded.flatten(1), 0, []
        slots, e = len(self.shape.slots), self.shape.embedding
        sizes = [len(part) for part in np.array_split(np.arange(slots), min(BLOCKS, slots))]
        for size, part in zip(sizes, torch.split_with_sizes(self.inputs, sizes, dim=2), strict=True):
            stop = start + size
            weights = (part[:stop] * mask[:stop, None, start:stop, None]).flatten(2).flatten(0, 1)
            blocks.append(flat[:, : stop * e] @ weights)
            start = stop
        return torch.cat(blocks, dim=1)

    def _dropped(self, values: Tensor) -> Tensor:
        """Dropout whose mask is one for the whole batch: random numbers for every row would cost more than the products."""
        if not self.training or not self.dropout:
            return values
        return values * functional.dropout(values.new_ones((1, *values.shape[1:])), self.dropout)

    def loss(self, hidden: Tensor, tokens: Tensor, learn: Tensor | None) -> Tensor:
        """Cross-entropy in nats, summed over slots and averaged over rows."""
        total = hidden.new_zeros(())
        for _, logits, target in self._predicted(hidden, tokens, learn):
            total = total + functional.cross_entropy(logits.flatten(0, 1), target.reshape(-1), reduction="sum")
        return total / max(tokens.shape[0], 1)

    def slot_losses(self, hidden: Tensor, tokens: Tensor, learn: Tensor | None) -> Tensor:
        """For each slot the cross-entropy in nats summed over rows, its square summed, and of how many tokens that is: (3, slots)."""
        found = hidden.new_zeros((3, len(self.shape.slots)), dtype=torch.float64)
        for slots, logits, target in self._predicted(hidden, tokens, learn):
            each = functional.cross_entropy(logits.flatten(0, 1), target.reshape(-1), reduction="none").view(target.shape).double()
            found[:, slots] = torch.stack([each.sum(dim=1), each.square().sum(dim=1), (target != UNLEARNED).double().sum(dim=1)])
        return found

    def _predicted(self, hidden: Tensor, tokens: Tensor, learn: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For slots of like vocabulary size their numbers, their logits (slots, rows, tokens) and the tokens to predict (slots, rows)."""
        for i in range(len(self.buckets)):
            slots = getattr(self, f"members_{i}")
            bias = self.head_bias[i].masked_fill(getattr(self, f"outside_{i}"), -1e9)  # cheaper than to fill the logits of all rows
            target = tokens[:, slots].T
            if learn is not None:
                target = target.masked_fill(~learn[:, slots].T, UNLEARNED)
            yield slots, torch.baddbmm(bias[:, None, :], hidden[:, slots].transpose(0, 1), self.heads[i]), target

    # -- generation ----------------------------------------------------------------------------------------------------

    def slot_logits(self, slot: int, embedded: Tensor, side: Tensor | None) -> Tensor:
        """Logits of one slot from the slots before it; only that slot's slice of the weights is used."""
        h = self.shape.hidden
        first = self.bias[slot].expand(embedded.shape[0], h)
        if slot:
            first = first + embedded[:, :slot].flatten(1) @ self.inputs[:slot, :, slot, :].flatten(0, 1)
        if side is not None:
            first = first + side[:, slot * h : (slot + 1) * h]
        hidden = first + functional.relu(first @ self.deeper[slot] + self.deeper_bias[slot])
        bucket, place = self.home[slot]
        size = self.shape.slots[slot]
        logits: Tensor = hidden @ self.heads[bucket][place, :, :size] + self.head_bias[bucket][place, :size]
        return logits


def _in_order(weights: Tensor, sizes: Sequence[int], positions: Sequence[np.ndarray | None]) -> None:
    start = 0
    for size, found in zip(sizes, positions, strict=True):
        if found is not None and size == len(found):
            weights[start : start + size] = _smooth(weights[start : start + size], found)
        start += size


def _smooth(weights: Tensor, positions: np.ndarray) -> Tensor:
    """Random weights (tokens, any) made a smooth function of the tokens' positions, plus a little of themselves."""
    known = torch.from_numpy(~np.isnan(positions))
    at = torch.from_numpy(np.nan_to_num(positions).astype(np.float32))
    waves = torch.stack([torch.cos(np.pi * k * at) for k in range(1, WAVES + 1)], dim=1) / torch.arange(1, WAVES + 1) ** 0.5
    mixed = waves @ (torch.randn(WAVES, weights.shape[1]) * weights.std())
    return torch.where(known[:, None], mixed + 0.3 * weights, weights)


def _mixed(known: Tensor, weights: Tensor) -> Tensor:
    """Random weights (tokens, any) made a mixture of what is known of the tokens (tokens, features), plus a little of themselves."""
    mixture = torch.randn(known.shape[1], weights.shape[1]) / known.shape[1] ** 0.5
    mixed: Tensor = known @ mixture * weights.std() + 0.1 * weights
    return mixed


def position_features(index: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Where a row stands in its sequence: (rows,) twice -> (rows, POSITION_FEATURES)."""
    remaining = length - 1 - index
    return np.stack(
        [
            np.log1p(index) / 4,
            np.log1p(remaining) / 4,
            (index == 0).astype(np.float64),
            (remaining == 0).astype(np.float64),
            (index + 0.5) / np.maximum(length, 1),
            np.log1p(length) / 4,
        ],
        axis=1,
    ).astype(np.float32)
