"""Drawing rows from a trained network, column by column and, in sequences, sibling by sibling.

Rows are computed in blocks of fixed make-up, so that neither the batch in which they are written nor the number of
workers can change a bit of them; each row has its own random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, Floats
from synth_engine.encode.category import FIRST_VALUE, CategoryEncoder
from synth_engine.encode.places import Places
from synth_engine.encode.relative import RelativeEncoder
from synth_engine.model.context import Context, ResidentContext
from synth_engine.model.devices import home_of, moved
from synth_engine.model.network import WINDOW, RowNetwork, flushed_denormals, position_features
from synth_engine.model.strata import spread_by_size, spread_evenly
from synth_engine.randomness import stream, uniforms

BLOCK = 4096
"""Rows, or sequences, that are computed together."""

IMPOSSIBLE = -1e9
"""Logit of a token that is not drawn."""

FARTHEST = 4.0
"""Steps that rows are moved by to a place, at most."""

MOST_SPREAD = 5_000_000
"""Numbers (rows by slots) up to which all slots are drawn by some spread evenly over the table; of more rows chance matters little, and
memory does."""


@dataclass(frozen=True)
class SameRow:
    """A reference that is known only while drawing: the value of another column of the row, `turned` into this one's unit."""

    column: str
    turned: Callable[[Floats], Floats]


@dataclass
class RelativeColumn:
    """A column told as steps: its slots, its encoder, and for each stepper the reference of every row (`None` for the
    previous sibling, which is known only while drawing). `values`, the last of them `known` in the sequence, and `goals` (see
    `RelativeEncoder`) are filled by sampling."""

    name: str
    slots: list[int]
    encoder: RelativeEncoder
    references: list[Floats | SameRow | None]
    values: Floats = field(default_factory=lambda: np.zeros(0))
    known: Floats = field(default_factory=lambda: np.zeros(0))
    goals: Floats | None = None


@dataclass
class PlacedColumns:
    """Two columns told as steps, `columns`, that are moved to the place that a `slot` after theirs says, by the values of its `encoder`."""

    places: Places
    slot: int
    encoder: CategoryEncoder
    columns: Sequence[RelativeColumn]

    def numbers(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the places that these tokens stand for, -1 for none."""
        of_token: NDArray[np.int64] = np.r_[np.full(FIRST_VALUE, -1), self.encoder.values.to_numpy()]
        return of_token[tokens]

    def distances(self, here: Floats, device: torch.device) -> torch.Tensor:
        """How far what each token stands for is from rows at these points, in steps, shape (rows, tokens): null is as near as can be, what
        is no place is nowhere, and so are all places where one of a point's numbers is missing."""
        if self._corners is None:
            corners = [corner[self.encoder.values.to_numpy()] for corner in (self.places.low, self.places.high)]
            self._corners = [moved(self._scaled(corner), device) for corner in corners]
        point = moved(self._scaled(here), device)
        squared = torch.zeros(len(here), len(self._corners[0]), device=device)
        for k in (0, 1):
            at = point[:, k, None]
            squared += ((self._corners[0][:, k] - at).clamp(min=0) + (at - self._corners[1][:, k]).clamp(min=0)).square()
        others = torch.tensor([0.0] + [torch.inf] * (FIRST_VALUE - 1), device=device).expand(len(here), -1)
        return torch.cat([others, squared.sqrt().nan_to_num(nan=torch.inf)], dim=1)

    _corners: list[torch.Tensor] | None = None

    def _scaled(self, points: Floats) -> NDArray[np.float32]:
        return np.asarray((points - self.places.origin) / self.places.step, dtype=np.float32)


@dataclass
class Request:
    """What to draw: `rows` rows with their `context`; `starts` and `lengths` of the sequences, or None for
    independent rows; `spread_first` spreads the first slot evenly over all rows however many they are;
    `given` holds the tokens of the first slots, shape (rows, slots), where they are not to be drawn; `never_null` the
    slots of which token 0 must not be drawn; `empty_after` has for slots that say nothing where another one is 0 (null) the number of
    that one: they are 0 there, as they were in training; `shared` has for slots in which several rows will be given what the first of
    them has the place of that for each row; `placed` are columns that together say where; `observe` is told, of each slot and some rows,
    the chances (rows, tokens) that it is to be drawn by, zero in rows in which it says nothing, and may move the logits of its tokens."""

    rows: int
    context: Context
    starts: NDArray[np.int64] | None
    lengths: NDArray[np.int64] | None
    relative: Sequence[RelativeColumn]
    seed: int
    spread_first: bool = False
    given: NDArray[np.int32] | None = None
    never_null: frozenset[int] = frozenset()
    empty_after: Mapping[int, int] = field(default_factory=dict)
    shared: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    placed: Sequence[PlacedColumns] = ()
    observe: Callable[[int, NDArray[np.int64], torch.Tensor], torch.Tensor | None] | None = None


Advance = Callable[[int, int], None]
"""Called with (rows drawn, rows in all)."""


def sample(network: RowNetwork, request: Request, device: torch.device, advance: Advance) -> NDArray[np.int32]:
    """Tokens of all requested rows, shape (rows, slots); decoded values are left in `request.relative`."""
    network = network.to(device).eval()
    drawing = _Drawing(network, request, device)
    with torch.no_grad(), flushed_denormals():
        if request.starts is None or request.lengths is None:
            for start in range(0, request.rows, BLOCK):
                rows = np.arange(start, min(start + BLOCK, request.rows))
                drawing.rows(rows, None, None, None)
                advance(len(rows), request.rows)
        else:
            _sequences(drawing, request.starts, request.lengths, advance)
    return drawing.tokens


def _sequences(drawing: _Drawing, starts: NDArray[np.int64], lengths: NDArray[np.int64], advance: Advance) -> None:
    """Longest sequences first, so that those of one block end at about the same time."""
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    network, device = drawing.network, drawing.device
    for at in range(0, len(order), BLOCK):
        chosen = order[at : at + BLOCK]
        start, length = starts[chosen], lengths[chosen]
        told = torch.zeros(len(chosen), network.shape.hidden, device=device)
        state = torch.zeros(1, len(chosen), network.shape.recurrent, device=device)
        for t in range(int(length[0])):
            active = int(np.searchsorted(-length, -t, side="left"))  # lengths fall: the first `active` are longer than t
            told, state = told[:active], state[:, :active]
            state = torch.zeros_like(state) if t % WINDOW == 0 else state
            output, state = network.recurrent(told[:, None], state.contiguous())
            rows = start[:active] + t
            position = moved(position_features(np.full(active, t), length[:active]), device)
            embedded = drawing.rows(rows, (position, torch.cat([told, output[:, 0]], dim=1)), t, length[:active] - 1 - t)
            told = network.row_vector(embedded)
            advance(active, drawing.request.rows)


def _kept_to(logits: torch.Tensor, allowed: torch.Tensor, may_be_missing: bool, less: torch.Tensor | float = 0.0) -> torch.Tensor:
    """Logits of the allowed tokens, some of them `less`. To be missing stays as likely as it was, unless nothing else is allowed: what is
    not allowed falls to the other tokens."""
    kept = (logits - less).masked_fill(~allowed, IMPOSSIBLE)
    if not may_be_missing:
        return kept
    shift = torch.logsumexp(kept[:, 1:], dim=1) - torch.logsumexp(logits[:, 1:], dim=1)
    free = allowed[:, 0] & allowed[:, 1:].any(dim=1)
    kept[:, 0] += torch.where(free, shift, 0.0)
    return kept


class _Drawing:
    """The tokens drawn so far, and how to draw the next rows."""

    def __init__(self, network: RowNetwork, request: Request, device: torch.device) -> None:
        self.network, self.request, self.device = network, request, device
        slots = len(network.shape.slots)
        self.tokens = np.zeros((request.rows, slots), dtype=np.int32)
        self.context = None
        if network.shape.context:
            self.context = ResidentContext.of(request.context, home_of(device, request.context.arrays()))
        self.keys = [stream(request.seed, "slot", slot) for slot in range(slots)]
        evenly = slots if request.rows * slots <= MOST_SPREAD else min(slots, int(request.spread_first))
        self.spread = spread_evenly(request.rows, evenly, stream(request.seed, "spread"))
        for slot in (slot for slot in request.shared if slot < evenly):
            firsts, of_row = np.unique(request.shared[slot], return_inverse=True)
            self.spread[slot][firsts] = spread_by_size(np.bincount(of_row.reshape(-1)), stream(request.seed, "shared", slot))
        self.by_first_slot = {column.slots[0]: column for column in request.relative}
        self.placed = {placed.slot: placed for placed in request.placed}
        self.by_name = {column.name: column for column in request.relative}
        for column in request.relative:
            column.values = column.known = np.full(request.rows, np.nan)
            if column.encoder.has_nulls:
                column.known = column.values.copy()
            column.goals = np.full(request.rows, np.nan) if column.encoder.pacer else None

    def rows(
        self,
        rows: NDArray[np.int64],
        told: tuple[torch.Tensor, torch.Tensor] | None,
        t: int | None,
        later: NDArray[np.int64] | None,
    ) -> torch.Tensor:
        """Draw all slots of these rows; returns their embeddings (rows, slots, embedding). In sequences, `told` is what
        the network knows of position and earlier siblings, `t` the place in the sequence, `later` the siblings to come."""
        network = self.network
        context = None if self.context is None else self.context[moved(rows, self.context.device)].to(self.device)
        position, history = told if told is not None else (None, None)
        side = network.side_input(context, position, history)
        tokens = torch.zeros(len(rows), len(network.shape.slots), dtype=torch.long, device=self.device)
        embedded = torch.zeros(len(rows), len(network.shape.slots), network.shape.embedding, device=self.device)
        slot = self._given(rows, tokens, embedded)
        while slot < len(network.shape.slots):
            column = self.by_first_slot.get(slot)
            if slot in self.placed:
                self._place(self.placed[slot], rows, t, tokens, embedded, side)
                slot += 1
            elif column is None:
                self._slot(slot, rows, tokens, embedded, side, None)
                slot += 1
            else:
                self._relative(column, rows, t, later, tokens, embedded, side)
                slot += len(column.slots)
        self.tokens[rows] = tokens.cpu().numpy()
        return embedded

    def _slot(
        self,
        slot: int,
        rows: NDArray[np.int64],
        tokens: torch.Tensor,
        embedded: torch.Tensor,
        side: torch.Tensor | None,
        allowed: NDArray[np.bool_] | torch.Tensor | None,
        may_be_missing: bool = False,
        less: torch.Tensor | float = 0.0,
    ) -> None:
        """Draw a slot, of which only some tokens may be `allowed`, and some be `less` likely than the network has it (by this logarithm);
        the first of them may stand for a missing value."""
        logits = self.network.slot_logits(slot, embedded, side)
        if allowed is not None:
            allowed = allowed if isinstance(allowed, torch.Tensor) else moved(allowed, self.device)
            logits = _kept_to(logits, allowed, may_be_missing, less)
        if slot in self.request.never_null:
            logits[:, 0] = IMPOSSIBLE
        u = self.spread[slot][rows] if slot < len(self.spread) else uniforms(self.keys[slot], rows)
        chances, deciding = torch.softmax(logits, dim=1), self.request.empty_after.get(slot)
        if self.request.observe is not None:
            shift = self.request.observe(slot, rows, chances if deciding is None else chances * (tokens[:, deciding] != 0)[:, None])
            chances = chances if shift is None else torch.softmax(logits + shift, dim=1)
        cumulated = chances.cumsum(dim=1, dtype=torch.float64)
        drawn = torch.searchsorted(cumulated, moved(u, self.device)[:, None] * cumulated[:, -1:])[:, 0]
        if deciding is not None:
            drawn = torch.where(tokens[:, deciding] == 0, 0, drawn)
        self._put(slot, drawn, tokens, embedded)

    def _given(self, rows: NDArray[np.int64], tokens: torch.Tensor, embedded: torch.Tensor) -> int:
        """Put the tokens that are given; returns the first slot to draw."""
        if self.request.given is None:
            return 0
        given = self.request.given[rows].astype(np.int64)
        for slot in range(given.shape[1]):
            self._put(slot, moved(given[:, slot].copy(), self.device), tokens, embedded)
        return int(given.shape[1])

    def _put(self, slot: int, drawn: torch.Tensor, tokens: torch.Tensor, embedded: torch.Tensor) -> None:
        tokens[:, slot] = drawn
        embedded[:, slot] = self.network.embed(drawn + self.network.offset[slot])

    def _relative(
        self,
        column: RelativeColumn,
        rows: NDArray[np.int64],
        t: int | None,
        later: NDArray[np.int64] | None,
        tokens: torch.Tensor,
        embedded: torch.Tensor,
        side: torch.Tensor | None,
    ) -> None:
        """Tell the pace, draw the step, decode it, and fill in the slots that follow from the value."""
        encoder = column.encoder
        references = [self._reference(column, values, rows, t) for values in column.references]
        which, base = encoder.choose(references, len(rows))
        key = stream(self.request.seed, "column", column.name)
        draw = Draw(rows, self.request.rows, lambda lane: uniforms(key, rows, lane))
        if encoder.pacer and not t:
            to_come = np.zeros(len(rows), np.int64) if later is None else later
            self._slot(column.slots[0], rows, tokens, embedded, side, encoder.allowed_pace(to_come), may_be_missing=True)
        elif encoder.lead:
            goals = None if column.goals is None else column.goals[rows - 1]
            pace = encoder.pace(base, later) if goals is None or later is None else encoder.pace_to(goals, base, later)
            self._put(column.slots[0], moved(pace.astype(np.int64), self.device), tokens, embedded)
        first, *others = column.slots[encoder.lead :]
        self._slot(first, rows, tokens, embedded, side, encoder.allowed(which, base, later), may_be_missing=True)
        for place, slot in enumerate(others):
            self._slot(slot, rows, tokens, embedded, side, encoder.allowed_start(place, which))
        drawn = tokens[:, column.slots].cpu().numpy().astype(np.int32)
        values = encoder.decode(drawn, which, base, draw, later)
        values = encoder.in_order(values, references)
        encoder.follow(drawn, which, values)
        for place, slot in enumerate(column.slots):
            self._put(slot, moved(drawn[:, place].astype(np.int64), self.device), tokens, embedded)
        column.values[rows] = values
        if column.encoder.has_nulls:
            column.known[rows] = np.where(np.isfinite(values), values, column.known[rows - 1] if t else np.nan)
        if column.goals is not None and later is not None:
            column.goals[rows] = column.goals[rows - 1] if t else encoder.goals(values, drawn[:, 0], later, draw)

    def _place(
        self,
        placed: PlacedColumns,
        rows: NDArray[np.int64],
        t: int | None,
        tokens: torch.Tensor,
        embedded: torch.Tensor,
        side: torch.Tensor | None,
    ) -> None:
        """Draw a place near where both columns have been drawn, the less likely the farther (as a normal error of a step would have it),
        and move them there; those at no place stay."""
        far = placed.distances(np.stack([column.values[rows] for column in placed.columns], axis=1), self.device)
        if placed.slot in self.request.never_null:  # where nothing is as near as it should be, the nearest
            far[:, FIRST_VALUE:] -= (far[:, FIRST_VALUE:].min(dim=1, keepdim=True).values - 0.99 * FARTHEST).clamp(min=0)
        less = 0.5 * far.clamp(max=FARTHEST).square()
        self._slot(placed.slot, rows, tokens, embedded, side, far <= FARTHEST, may_be_missing=True, less=less)
        key = stream(self.request.seed, "place", placed.slot)
        draw = Draw(rows, self.request.rows, lambda lane: uniforms(key, rows, lane))
        number = placed.numbers(tokens[:, placed.slot].cpu().numpy())
        there = placed.places.values(number, draw)
        anywhere = (number >= 0) & ~placed.places.are_points[np.maximum(number, 0)]
        at = np.isfinite(there[:, 0])
        for column, values in zip(placed.columns, there.T, strict=True):
            references = [self._reference(column, found, rows, t) for found in column.references]
            which, base = column.encoder.choose(references, len(rows))
            settled = column.encoder.absolute.settled(values[anywhere])  # as the column spells it
            values[anywhere] = np.clip(settled, *column.encoder.absolute.bounds())
            drawn = tokens[:, column.slots].cpu().numpy().astype(np.int32)
            moved_there = drawn[at]
            column.encoder.tell(moved_there, which[at], base[at], values[at])
            drawn[at] = moved_there
            column.values[rows[at]] = values[at]
            column.known[rows[at]] = values[at]
            for place, slot in enumerate(column.slots):
                self._put(slot, moved(drawn[:, place].astype(np.int64), self.device), tokens, embedded)

    def _reference(self, column: RelativeColumn, values: Floats | SameRow | None, rows: NDArray[np.int64], t: int | None) -> Floats:
        if isinstance(values, SameRow):
            return values.turned(self.by_name[values.column].values[rows])
        if values is not None:
            return values[rows]
        return column.known[rows - 1] if t else np.full(len(rows), np.nan)
