"""Training of one network: held-out entities decide about the best weights and the end."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
import torch
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.model.context import Context, ResidentContext
from synth_engine.model.cooccurrence import occurring_with
from synth_engine.model.devices import home_of, moved
from synth_engine.model.distributed import ALONE, Team
from synth_engine.model.memorisation import Restraint, frequency_losses
from synth_engine.model.network import WINDOW, NetworkShape, RowNetwork, flushed_denormals, half_precision, order_mask, position_features
from synth_engine.model.optimiser import AdamW
from synth_engine.model.relevance import related_slots
from synth_engine.progress import per_second

BATCH_ROWS = 1024
"""Rows of a batch at most, for each process that takes part."""
FEWEST_STEPS, SMALLEST_BATCH = 16, 16
"""Batches that small tables are cut into, of so many rows at least."""
CONTEXT_DROPOUT = 0.1
"""Share of the parents' tokens that training hides, row by row."""
WIDE, MANY_ROWS = 40, 7_200
"""With so many slots, or fewer rows than so many a slot, only those slots inform each other that tell something of each other: what others
seem to tell is chance, and learned by heart."""
PATIENCE = 5
"""Evaluations without progress after which training ends: to go on from the best weights at a lower rate gains next to nothing."""
DISTANCE = 4.0
LOWEST_RATE, HIGHEST_RATE = 2e-3, 1e-2
"""The learning rate is such that all planned steps together cover this distance, between these bounds: the fewer, the larger."""
AVERAGING = 0.97
"""Weight of the past in the averaged weights, which are what is evaluated and kept (Polyak and Juditsky, "Acceleration of
stochastic approximation by averaging", 1992)."""
WEIGHT_DECAY = 0.3
"""Over the distance of a whole training, weights that nothing holds shrink by half; more blurs what is to be learned (see
ARCHITECTURE.md, decisions)."""
MOST_COUNTED = 500_000
"""Rows, evenly spread, that tell what occurs, and with what."""
MOST_EVALUATED = 32_768
"""Held-out rows by which a training is judged: more would cost time and tell no more."""
FEWEST_COMPARED = 1_000
"""Rows learned from that the held-out ones are compared with, if there are so many."""


@dataclass
class Examples:
    """What a network learns from. `tokens` and `learn` have shape (rows, slots); `sequence` numbers each row's sequence (rows
    of one stand together, in order) or is None for independent rows. The positions give the natural order of tokens, where they
    have one. The last `copies` rows are repeated ones; the first `summaries` slots tell of a row's children."""

    tokens: NDArray[np.int32]
    learn: NDArray[np.bool_] | None
    context: Context
    sequence: NDArray[np.int64] | None
    held_out: NDArray[np.bool_]
    slot_positions: Sequence[Floats | None] = ()
    context_positions: Sequence[Floats | None] = ()
    copies: int = 0
    summaries: int = 0


@dataclass(frozen=True)
class Schedule:
    """Bounds of a training: epochs, optimiser steps, and the clock (None: no clock, hence reproducible); rows of a batch, for each
    process that takes part; and whether the network learns to draw columns in any order, not in the table's alone."""

    epochs: int
    steps: int
    deadline: float | None
    seed: int
    batch_rows: int = BATCH_ROWS
    any_order: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """How a training went; losses are nats a row."""

    epochs: int
    steps: int
    training_loss: float
    held_out_loss: float
    rows_per_second: float
    cut_short: bool


Report = Callable[[int, int, float, float, float, float], None]
"""Called once an epoch with (epoch, epochs, training loss, held-out loss, rows per second, seconds left)."""


@dataclass
class _Batch:
    rows: NDArray[np.int64]
    """Row numbers, or (sequences, longest) with -1 where a sequence has ended."""
    before: NDArray[np.int64] | None
    """Row before each sequence's window, -1 at a sequence's start."""
    within: _Place | None = None
    """Where it stands in a larger batch, if it is one process's share of it."""


@dataclass
class _Place:
    """What a share is of a batch: its rows' places among the batch's `rows` rows, and its weight in their mean."""

    places: NDArray[np.int64]
    rows: int
    weight: float


def train(
    shape: NetworkShape, examples: Examples, schedule: Schedule, device: torch.device, report: Report, team: Team = ALONE
) -> tuple[RowNetwork, TrainingResult]:
    """Fit a network of `shape`; the weights with the lowest held-out loss are returned. All processes of a team call it with the same
    arguments, and get the same."""
    device = team.device(device)
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    network = RowNetwork(shape, _dropout(len(examples.tokens), len(shape.slots)))
    training, held_out = ~examples.held_out, examples.held_out
    if examples.slot_positions:
        network.start_in_order(examples.slot_positions, examples.context_positions)
    network.start_from_frequencies(examples.tokens, examples.learn)
    rows = len(examples.tokens) - examples.copies  # repeated ones would seem to agree beyond chance
    learned = np.flatnonzero(training[:rows])
    counted = learned[:: max(1, -(-len(learned) // MOST_COUNTED))]
    tokens = examples.tokens[counted]
    related = np.ones((len(shape.slots),) * 2, dtype=np.bool_)
    if len(shape.slots) >= WIDE or rows < MANY_ROWS * len(shape.slots):
        related = related_slots(tokens, shape.columns, examples.slot_positions, examples.summaries)
        network.start_related(related)
    for slot, company in occurring_with(tokens, shape.slots, examples.slot_positions, related):
        network.start_from_company(slot, company)
    network.to(device)
    team.start_alike(network)
    feeder = _Feeder(shape, examples, device, team)
    frequencies = frequency_losses(examples.tokens, examples.learn, counted, np.flatnonzero(held_out), shape.slots)
    trainer = _Trainer(network, feeder, schedule, team, Restraint(network, examples.slot_positions, frequencies))
    most = schedule.batch_rows * team.size
    size = int(np.clip(np.count_nonzero(training) // FEWEST_STEPS, SMALLEST_BATCH, most))
    unseen = feeder.batches(held_out, most, MOST_EVALUATED)(None)
    once = training.copy()
    once[rows:] = False
    seen = feeder.batches(once, most, max(_rows(unseen), FEWEST_COMPARED) if unseen else MOST_EVALUATED)(None)
    with flushed_denormals():
        return network, trainer.run(feeder.batches(training, size), seen, unseen, rng, report)


def _dropout(rows: int, slots: int) -> float:
    """Small tables are learned by heart soonest, and wide ones: half of the hidden units for 180 rows a slot, a quarter for 1,800, a tenth
    from 7,200 on."""
    return float(np.clip(0.5 - 0.25 * np.log10(max(rows, 1) / max(slots, 1) / 180), 0.1, 0.5))


class _Feeder:
    """Turns rows into tensors: independent rows in random batches, sequences in windows grouped by length."""

    def __init__(self, shape: NetworkShape, examples: Examples, device: torch.device, team: Team) -> None:
        self.shape, self.device, self.team = shape, device, team
        context = examples.context if shape.context else None
        rows = (array for array in (examples.tokens, examples.learn) if array is not None)
        self.home = home_of(device, chain(rows, () if context is None else context.arrays()))
        self.tokens = moved(examples.tokens, self.home)
        self.learn = None if examples.learn is None else moved(examples.learn, self.home)
        self.context = None if context is None else ResidentContext.of(context, self.home)
        self.sequence = examples.sequence if shape.sequential else None
        if self.sequence is not None:
            starts = np.flatnonzero(np.r_[True, self.sequence[1:] != self.sequence[:-1]])
            length = np.diff(np.r_[starts, len(self.sequence)])
            index = np.arange(len(self.sequence)) - np.repeat(starts, length)
            self.index, self.length = index.astype(np.int32), np.repeat(length, length).astype(np.int32)

    def batches(
        self, chosen: NDArray[np.bool_], size: int, some: int | None = None
    ) -> Callable[[np.random.Generator | None], list[_Batch]]:
        """A function that cuts the chosen rows, or `some` of them and up to twice as many, at even distances, into batches of `size` rows
        or fewer, shuffled if it is given a generator."""
        rows = np.flatnonzero(chosen)
        every = 1 if some is None else _every(len(rows), some)
        if self.sequence is None:
            rows = rows[::every]
            return lambda rng: [_Batch(part, None) for part in _cut(rows if rng is None else rng.permutation(rows), size)]
        windows = self._windows(rows)[::every]
        return lambda rng: self._padded(windows, size, rng)

    def _windows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(start row, rows) of every window, held-out sequences and training sequences never share one."""
        assert self.sequence is not None
        apart = (np.diff(rows) > 1) | (self.sequence[rows][1:] != self.sequence[rows][:-1])
        new = np.r_[True, apart | (self.index[rows][1:] % WINDOW == 0)]
        at = np.flatnonzero(new)
        return np.stack([rows[at], np.diff(np.r_[at, len(rows)])], axis=1) if len(rows) else np.zeros((0, 2), np.int64)

    def _padded(self, windows: NDArray[np.int64], size: int, rng: np.random.Generator | None) -> list[_Batch]:
        noise = np.zeros(len(windows)) if rng is None else rng.random(len(windows))
        windows = windows[np.lexsort((noise, windows[:, 1]))]
        batches, start = [], 0
        while start < len(windows):
            stop = start + 1
            while stop < len(windows) and (stop - start + 1) * windows[stop, 1] <= size:
                stop += 1
            first, length = windows[start:stop, 0], windows[start:stop, 1]
            grid = first[:, None] + np.arange(length.max())[None, :]
            grid[np.arange(length.max())[None, :] >= length[:, None]] = -1
            batches.append(_Batch(grid, np.where(self.index[first] > 0, first - 1, -1)))
            start = stop
        if rng is not None:
            return [batches[i] for i in rng.permutation(len(batches))]
        return batches

    def share(self, batch: _Batch) -> _Batch:
        """What this process computes of a batch: of several its share. One that gets none computes the first row, or sequence, with no
        weight, so that it draws the random numbers and exchanges the gradients that the others do."""
        if self.team.size == 1:
            return batch
        share = self.team.share(len(batch.rows))
        chosen = np.zeros(batch.rows.shape, dtype=np.bool_)
        chosen[share if len(share) else slice(0, 1)] = True
        there = batch.rows >= 0
        places, whole = np.flatnonzero(chosen[there]), int(np.count_nonzero(there))
        mine = np.flatnonzero(chosen if batch.before is None else chosen[:, 0])
        place = _Place(places, whole, len(places) / whole if len(share) else 0.0)
        return _Batch(batch.rows[mine], None if batch.before is None else batch.before[mine], place)

    def loss(self, network: RowNetwork, batch: _Batch, mask: torch.Tensor | None) -> tuple[torch.Tensor, int]:
        """Mean loss of a batch and its number of rows, of which those without weight do not count."""
        with half_precision(self.device):
            hidden, tokens, learn = self._hidden(network, batch, mask)
            loss = network.loss(hidden, tokens, learn)
        return loss, len(tokens) if batch.within is None or batch.within.weight else 0

    def slot_losses(self, network: RowNetwork, batch: _Batch) -> tuple[torch.Tensor, int]:
        """`RowNetwork.slot_losses` of a batch, and its number of rows; nothing of rows without weight."""
        with half_precision(self.device):
            hidden, tokens, learn = self._hidden(network, batch, None)
            found = network.slot_losses(hidden, tokens, learn)
        return (found, len(tokens)) if batch.within is None or batch.within.weight else (torch.zeros_like(found), 0)

    def _hidden(
        self, network: RowNetwork, batch: _Batch, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Hidden layers of a batch's rows, their tokens, and from which of these is learned."""
        there = batch.rows[batch.rows >= 0]
        rows = moved(there, self.home)
        tokens = self.tokens[rows].to(self.device)
        history = position = None
        if batch.before is None:
            embedded = network.embedded(tokens)
        else:
            embedded, history = self._history(network, batch, batch.before)
            position = moved(position_features(self.index[there], self.length[there]), self.device)
        context = None if self.context is None else self.context[rows].to(self.device)
        if context is not None and network.training:  # synthetic parents combine what no real one did: do not lean on any single token
            context = context * self._seen(context.shape, batch.within)
        hidden = network.hidden(embedded, mask, network.side_input(context, position, history))
        learn = None if self.learn is None else self.learn[rows].to(self.device)
        return hidden, tokens.long(), learn

    def _seen(self, shape: torch.Size, within: _Place | None) -> torch.Tensor:
        """Which context tokens training shows, drawn row by row for the whole batch: shares of it agree in what is drawn next."""
        rows = shape[0] if within is None else within.rows
        seen = torch.rand((rows, *shape[1:]), device=self.device) >= CONTEXT_DROPOUT
        return seen if within is None else seen[moved(within.places, self.device)]

    def _history(self, network: RowNetwork, batch: _Batch, before: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of the valid rows, and what each is told of its earlier siblings."""
        valid = moved(np.flatnonzero(batch.rows >= 0), self.device)
        embedded = network.embedded(self._tokens_of(batch.rows))
        vectors = network.row_vector(embedded)
        prior = network.row_vector(network.embedded(self._tokens_of(before)))
        prior = prior * moved(before >= 0, self.device)[:, None]
        told = torch.cat([prior[:, None], vectors[:, :-1]], dim=1)
        state, _ = network.recurrent(told)
        return embedded.flatten(0, 1)[valid], torch.cat([told, state], dim=2).flatten(0, 1)[valid]

    def _tokens_of(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Tokens of these rows, of any one's where there is none (-1)."""
        return self.tokens[moved(np.maximum(rows, 0), self.home)].to(self.device)


class _Trainer:
    def __init__(self, network: RowNetwork, feeder: _Feeder, schedule: Schedule, team: Team, restraint: Restraint) -> None:
        self.network, self.feeder, self.schedule, self.team, self.restraint = network, feeder, schedule, team, restraint
        self.averaged = copy.deepcopy(network)
        self.steps = 0

    def run(
        self,
        training: Callable[[np.random.Generator | None], list[_Batch]],
        seen: list[_Batch],
        unseen: list[_Batch],
        rng: np.random.Generator,
        report: Report,
    ) -> TrainingResult:
        """Train on `training`, judged by held-out rows (`unseen`) and, to see what is known by heart, by some of those learned from
        (`seen`); where there are no others by these alone."""
        self.planned = max(1, min(self.schedule.steps, self.schedule.epochs * len(training(None))))
        self.highest = float(np.clip(DISTANCE / self.planned, LOWEST_RATE, HIGHEST_RATE))
        decay = WEIGHT_DECAY * min(1.0, DISTANCE / (LOWEST_RATE * self.planned))  # a longer way must not shrink them further
        self.optimiser = AdamW(_decays(self.network, decay))
        best, best_loss, stale = copy.deepcopy(self.averaged.state_dict()), float("inf"), 0
        began, rows, loss, epoch, cut_short = time.monotonic(), 0, float("nan"), 0, False
        while epoch < self.schedule.epochs and self.steps < self.schedule.steps and stale < PATIENCE and not cut_short:
            epoch += 1
            loss, trained, cut_short = self._epoch(training(rng), rng)
            rows += trained
            checked, losses = self._evaluate(unseen or seen)
            if unseen:
                self.restraint.judge(self._evaluate(seen)[1], losses)
            if best_loss == float("inf") or checked < best_loss - 1e-4 * abs(best_loss):
                best, best_loss, stale = copy.deepcopy(self.averaged.state_dict()), checked, 0
            else:
                stale += 1
            speed = per_second(rows, began)
            planned = min(self.schedule.epochs, epoch + -(-(self.schedule.steps - self.steps) * epoch // max(self.steps, 1)))
            report(epoch, planned, loss, best_loss, speed, (planned - epoch) * trained / max(speed, 1e-9))
        self.network.load_state_dict(best)
        self.network.eval()
        return TrainingResult(epoch, self.steps, loss, best_loss, per_second(rows, began), cut_short)

    def _epoch(self, batches: list[_Batch], rng: np.random.Generator) -> tuple[float, int, bool]:
        """Train once through the batches: (mean loss, rows seen, whether the clock ran out)."""
        self.network.train()
        total = torch.zeros((), dtype=torch.float64, device=self.feeder.device)  # to ask for a step's loss is to wait for that step
        seen, cut_short = 0.0, False
        columns = self.network.shape.columns
        orders = column_orders(max(columns) + 1, rng) if self.schedule.any_order else repeat(None)
        for batch, rank in zip(batches, orders, strict=False):
            mask = None if rank is None else order_mask(columns, rank).to(self.feeder.device)
            share = self.feeder.share(batch)
            loss, rows = self.feeder.loss(self.network, share, mask)
            self.optimiser.forget_gradients()
            (loss if share.within is None else loss * share.within.weight).backward()  # type: ignore[no-untyped-call]
            self.team.add_gradients(self.network)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
            rate = self._rate()
            self.optimiser.step(rate)
            self.restraint.restrain(rate)
            self._average()
            self.steps += 1
            total += loss.detach().double() * rows
            seen += rows
            cut_short = self.schedule.deadline is not None and self.team.agreed(time.monotonic() > self.schedule.deadline)
            if cut_short or self.steps >= self.schedule.steps:
                break
        summed, seen = self.team.sums(total.item(), seen)
        return summed / max(seen, 1), int(seen), cut_short

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards the present ones: a running mean at first, then one of the last steps."""
        share = max(1 - AVERAGING, 1 / (1 + self.steps))
        for averaged, present in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            averaged.lerp_(present, share)

    @torch.no_grad()
    def _evaluate(self, batches: list[_Batch]) -> tuple[float, torch.Tensor]:
        """The mean loss of a row, and what it is made of (`RowNetwork.slot_losses`), over all processes."""
        self.averaged.eval()
        slots = len(self.network.shape.slots)
        total, seen = torch.zeros((3, slots), dtype=torch.float64, device=self.feeder.device), 0
        for batch in batches:
            losses, rows = self.feeder.slot_losses(self.averaged, self.feeder.share(batch))
            total += losses
            seen += rows
        *found, evaluated = self.team.sums(*total.flatten().tolist(), seen)
        summed = torch.tensor(found, dtype=torch.float64).view(3, slots)
        return float(summed[0].sum()) / max(evaluated, 1), summed

    def _rate(self) -> float:
        """A short warm-up and a cosine towards the planned end."""
        done = min(self.steps / self.planned, 1.0)
        warm = min(1.0, (self.steps + 1) / 30)
        return float(self.highest * warm * (0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * done))))


def _decays(network: RowNetwork, decay: float) -> Iterator[tuple[torch.nn.Parameter, float]]:
    """Biases do not decay, as those of the outputs start from the frequencies of the tokens."""
    for name, parameter in network.named_parameters():
        yield parameter, 0.0 if "bias" in name else decay


def column_orders(columns: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64] | None]:
    """For each batch the rank of every column in the drawing order: the table's own (None), which generation uses, and a random one
    in turn."""
    while True:
        yield None
        yield rng.permutation(columns)


def _every(rows: int, some: int) -> int:
    """At which distance so many of the rows stand, and up to twice as many."""
    return max(rows // max(some, 1), 1)


def _rows(batches: list[_Batch]) -> int:
    return sum(int((batch.rows >= 0).sum()) for batch in batches)


def _cut(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
