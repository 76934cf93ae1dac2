"""Training of one network: held-out entities decide about the learning rate, the best weights and the end."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.model.context import Context
from synth_engine.model.network import WINDOW, NetworkShape, RowNetwork, flushed_denormals, half_precision, order_mask, position_features
from synth_engine.model.relevance import related_slots
from synth_engine.progress import per_second

BATCH_ROWS = 1024
WIDE = 40
"""Slots from which on only those inform each other that tell something of each other: of so many the others would be learned by heart
before these are learned."""
PATIENCE = 3
"""Evaluations without progress after which the learning rate falls."""
AVERAGING = 0.97
"""Weight of the past in the averaged weights, which are what is evaluated and kept (Polyak and Juditsky, "Acceleration of
stochastic approximation by averaging", 1992)."""
FALLS = 3
"""Falls of the learning rate after which training ends."""


@dataclass
class Examples:
    """What a network learns from. `tokens` and `learn` have shape (rows, slots); `sequence` numbers each row's sequence (rows
    of one stand together, in order) or is None for independent rows. The positions give the natural order of tokens, where they
    have one."""

    tokens: NDArray[np.int32]
    learn: NDArray[np.bool_] | None
    context: Context
    sequence: NDArray[np.int64] | None
    held_out: NDArray[np.bool_]
    slot_positions: Sequence[Floats | None] = ()
    context_positions: Sequence[Floats | None] = ()


@dataclass(frozen=True)
class Schedule:
    """Bounds of a training: epochs, optimiser steps, and the clock (None: no clock, hence reproducible)."""

    epochs: int
    steps: int
    deadline: float | None
    seed: int
    learning_rate: float = 2e-3


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


def train(
    shape: NetworkShape, examples: Examples, schedule: Schedule, device: torch.device, report: Report
) -> tuple[RowNetwork, TrainingResult]:
    """Fit a network of `shape`; the weights with the lowest held-out loss are returned."""
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    network = RowNetwork(shape, _dropout(len(examples.tokens))).to(device)
    training, held_out = ~examples.held_out, examples.held_out
    if examples.slot_positions:
        network.cpu().start_in_order(examples.slot_positions, examples.context_positions)
        network.to(device)
    network.start_from_frequencies(examples.tokens, examples.learn)
    if len(shape.slots) >= WIDE:
        network.start_related(related_slots(examples.tokens[training], shape.columns, examples.slot_positions))
    feeder = _Feeder(shape, examples, device)
    trainer = _Trainer(network, feeder, schedule)
    with flushed_denormals():
        return network, trainer.run(feeder.batches(training), feeder.batches(held_out), rng, report)


def _dropout(rows: int) -> float:
    """Small tables are learned by heart soonest: half of the hidden units for 2,500 rows, a tenth from 25,000 on."""
    return float(np.clip(0.5 - 0.4 * np.log10(max(rows, 1) / 2_500), 0.1, 0.5))


class _Feeder:
    """Turns rows into tensors: independent rows in random batches, sequences in windows grouped by length."""

    def __init__(self, shape: NetworkShape, examples: Examples, device: torch.device) -> None:
        self.shape, self.device = shape, device
        self.tokens = torch.from_numpy(examples.tokens).to(device)
        self.learn = None if examples.learn is None else torch.from_numpy(examples.learn).to(device)
        self.context = examples.context if shape.context else None
        self.sequence = examples.sequence if shape.sequential else None
        if self.sequence is not None:
            starts = np.flatnonzero(np.r_[True, self.sequence[1:] != self.sequence[:-1]])
            length = np.diff(np.r_[starts, len(self.sequence)])
            index = np.arange(len(self.sequence)) - np.repeat(starts, length)
            self.position = torch.from_numpy(position_features(index, np.repeat(length, length))).to(device)
            self.index = index

    def batches(self, chosen: NDArray[np.bool_]) -> Callable[[np.random.Generator | None], list[_Batch]]:
        """A function that cuts the chosen rows into batches, shuffled if it is given a generator."""
        rows = np.flatnonzero(chosen)
        size = int(np.clip(len(rows) // 16, 16, BATCH_ROWS))
        if self.sequence is None:
            return lambda rng: [_Batch(part, None) for part in _cut(rows if rng is None else rng.permutation(rows), size)]
        windows = self._windows(rows)
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

    def loss(self, network: RowNetwork, batch: _Batch, mask: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Mean loss of a batch and its number of rows."""
        with half_precision(self.device):
            return self._loss(network, batch, mask)

    def _loss(self, network: RowNetwork, batch: _Batch, mask: torch.Tensor) -> tuple[torch.Tensor, int]:
        history = position = None
        if batch.before is None:
            rows = torch.from_numpy(batch.rows).to(self.device)
            embedded = network.embedded(self.tokens[rows])
        else:
            rows, embedded, history = self._history(network, batch)
            position = self.position[rows]
        context = None if self.context is None else torch.from_numpy(self.context[rows.cpu().numpy()]).to(self.device)
        side = network.side_input(context, position, history)
        hidden = network.hidden(embedded, mask, side)
        return network.loss(hidden, self.tokens[rows].long(), None if self.learn is None else self.learn[rows]), len(rows)

    def _history(self, network: RowNetwork, batch: _Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Valid rows, their embeddings, and what each is told of its earlier siblings."""
        assert batch.before is not None
        grid = torch.from_numpy(batch.rows).to(self.device)
        before = torch.from_numpy(batch.before).to(self.device)
        embedded = network.embedded(self.tokens[grid.clamp(min=0)])
        vectors = network.row_vector(embedded)
        prior = network.row_vector(network.embedded(self.tokens[before.clamp(min=0)])) * (before >= 0)[:, None]
        told = torch.cat([prior[:, None], vectors[:, :-1]], dim=1)
        state, _ = network.recurrent(told)
        valid = grid >= 0
        return grid[valid], embedded[valid], torch.cat([told, state], dim=2)[valid]


class _Trainer:
    def __init__(self, network: RowNetwork, feeder: _Feeder, schedule: Schedule) -> None:
        self.network, self.feeder, self.schedule = network, feeder, schedule
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=schedule.learning_rate, weight_decay=1e-3, fused=True)
        self.mask = order_mask(network.shape.columns).to(feeder.device)
        self.averaged = copy.deepcopy(network)
        self.steps = 0
        self.planned = schedule.steps
        self.factor = 1.0

    def run(
        self,
        training: Callable[[np.random.Generator | None], list[_Batch]],
        held_out: Callable[[np.random.Generator | None], list[_Batch]],
        rng: np.random.Generator,
        report: Report,
    ) -> TrainingResult:
        evaluation = held_out(None) or training(None)
        self.planned = max(1, min(self.schedule.steps, self.schedule.epochs * len(training(None))))
        best, best_loss, stale, falls = copy.deepcopy(self.averaged.state_dict()), float("inf"), 0, 0
        began, rows, loss, epoch, cut_short = time.monotonic(), 0, float("nan"), 0, False
        while epoch < self.schedule.epochs and self.steps < self.schedule.steps and falls < FALLS and not cut_short:
            epoch += 1
            loss, seen, cut_short = self._epoch(training(rng), rng)
            rows += seen
            checked = self._evaluate(evaluation)
            if best_loss == float("inf") or checked < best_loss - 1e-4 * abs(best_loss):
                best, best_loss, stale = copy.deepcopy(self.averaged.state_dict()), checked, 0
            else:
                stale += 1
            if stale >= (PATIENCE if falls == 0 else 2):
                stale, falls = 0, falls + 1
                self._lower_rate(best)
            speed = per_second(rows, began)
            planned = min(self.schedule.epochs, epoch + -(-(self.schedule.steps - self.steps) * epoch // max(self.steps, 1)))
            report(epoch, planned, loss, best_loss, speed, (planned - epoch) * seen / max(speed, 1e-9))
        self.network.load_state_dict(best)
        self.network.eval()
        return TrainingResult(epoch, self.steps, loss, best_loss, per_second(rows, began), cut_short)

    def _epoch(self, batches: list[_Batch], rng: np.random.Generator) -> tuple[float, int, bool]:
        """Train once through the batches: (mean loss, rows seen, whether the clock ran out)."""
        self.network.train()
        total, seen = 0.0, 0
        for batch, mask in zip(batches, self._masks(rng), strict=False):
            loss, rows = self.feeder.loss(self.network, batch, mask)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
            self._set_rate()
            self.optimiser.step()
            self._average()
            self.steps += 1
            total += loss.item() * rows
            seen += rows
            if self.schedule.deadline is not None and time.monotonic() > self.schedule.deadline:
                return total / max(seen, 1), seen, True
            if self.steps >= self.schedule.steps:
                break
        return total / max(seen, 1), seen, False

    def _masks(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Every other batch in the table's own order, which generation uses; the others in a random one."""
        columns = self.network.shape.columns
        while True:
            yield self.mask
            yield order_mask(columns, rng.permutation(max(columns) + 1)).to(self.feeder.device)

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards the present ones: a running mean at first, then one of the last steps."""
        share = max(1 - AVERAGING, 1 / (1 + self.steps))
        for averaged, present in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            averaged.lerp_(present, share)

    @torch.no_grad()
    def _evaluate(self, batches: list[_Batch]) -> float:
        self.averaged.eval()
        total, seen = 0.0, 0
        for batch in batches:
            loss, rows = self.feeder.loss(self.averaged, batch, self.mask)
            total, seen = total + loss.item() * rows, seen + rows
        return total / max(seen, 1)

    def _lower_rate(self, best: dict[str, torch.Tensor]) -> None:
        self.network.load_state_dict(best)
        self.averaged.load_state_dict(best)
        self.factor *= 0.35

    def _set_rate(self) -> None:
        """A short warm-up, a cosine towards the planned end, and what the held-out entities made of it."""
        done = min(self.steps / self.planned, 1.0)
        warm = min(1.0, (self.steps + 1) / 30)
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.learning_rate * self.factor * warm * (0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * done)))


def _cut(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
