"""A trained network is drawn on trial, and its output biases are set so that tokens come as often as in the source.

A network tells each token from real ones before it, but draws it from its own: what is a little off in one column leads the next
astray, and tokens come more or less often than they should. By how much is seen in the chances that a trial gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth_engine.encode.base import Floats
from synth_engine.encode.relative import Reference
from synth_engine.model.context import Context
from synth_engine.model.network import RowNetwork
from synth_engine.model.prepared import PreparedTable, take_or_nan
from synth_engine.model.requests import row_request
from synth_engine.model.sampling import sample
from synth_engine.model.state import Model
from synth_engine.progress import Advance
from synth_engine.randomness import generator, stream

ROWS = 16_384
"""Rows of a trial: of a larger table some, of a smaller one all, over and over."""
STANDARD_ERRORS = 2.0
"""A mean chance that is off by less is left alone, and one that is off by more moved the less the nearer it is to that."""
MOST = 1.0
"""By how much a bias is moved at most (a factor of e)."""


@dataclass(frozen=True)
class Trial:
    """Which rows of a prepared table stand for those of a trial, in what sequences, and what their parents have in the columns that
    others are told from."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    of_parents: Mapping[Reference, Floats]

    @classmethod
    def of(cls, one: PreparedTable, prepared: Mapping[str, PreparedTable], seed: int) -> Trial:
        """Whole sequences, in random order, and as often as need be."""
        sequence = np.arange(one.rows) if one.sequence is None else one.sequence
        first = np.flatnonzero(np.r_[True, sequence[1:] != sequence[:-1]][: one.rows])
        length = np.diff(np.r_[first, one.rows])
        chosen = generator(seed, "trial", one.table.name).permutation(len(first))
        chosen = np.tile(chosen, -(-ROWS // max(one.rows, 1)))
        chosen = chosen[: np.searchsorted(np.cumsum(length[chosen]), ROWS) + 1]
        lengths = length[chosen]
        starts = np.r_[0, np.cumsum(lengths)[:-1]].astype(np.int64)[: len(lengths)]
        rows = np.repeat(first[chosen] - starts, lengths) + np.arange(lengths.sum())
        return cls(rows, starts, lengths, {r: _of_parent(one, prepared, r)[rows] for r in _of_parents(one)})


def calibrate(
    model: Model,
    name: str,
    trial: Trial,
    tokens: NDArray[np.int32],
    learned: NDArray[np.bool_],
    context: Context,
    seed: int,
    device: torch.device,
    advance: Advance,
) -> None:
    """Set the biases of a table's row network in place. `tokens` are those of the source's rows, (rows, slots), `learned` those of them
    that count, `context` what its rows know of their parents.

    Columns told as steps are left as they are: a step's chances hang on how far there is to go.
    """
    network, hidden = model.tables[name].row_network, len(model.hidden_sizes(name))
    if network is None or not len(trial.rows):
        return
    dealt = name in model.skeletons or model.tables[name].hidden_rows is not None
    given = tokens[trial.rows, :hidden] if dealt else None
    request = row_request(
        model, name, context.of(trial.rows), (trial.starts, trial.lengths), trial.of_parents.__getitem__, given, stream(seed, "trial", name)
    )
    tally = _Tally(network)
    request.observe = tally.add
    sample(network, request, device, advance)
    steps = {slot for column in request.relative for slot in column.slots}
    for slot, size in enumerate(network.shape.slots):
        counted = tokens[learned[:, slot], slot]
        if slot not in steps and tally.rows[slot] and len(counted):
            shift = _shift(np.bincount(counted, minlength=size), *tally.mean(slot))
            bucket, place = network.home[slot]
            with torch.no_grad():
                network.head_bias[bucket][place, :size] += torch.from_numpy(shift).to(network.head_bias[bucket])


def _shift(counts: NDArray[np.int64], chance: Floats, error: Floats) -> Floats:
    """By how much to move the bias of each token, given how often it comes in the source, its mean chance in a trial and the standard
    error of that. What chance may account for is left out, as James and Stein shrink a mean ("Estimation with quadratic loss", 1961)."""
    least = 0.5 / counts.sum()
    frequency = counts / counts.sum()
    beyond = 1 - (STANDARD_ERRORS * error / np.maximum(np.abs(frequency - chance), 1e-12)) ** 2
    moved: Floats = np.clip(beyond, 0, 1) * np.log((frequency + least) / (chance + least))
    return np.clip(moved, -MOST, MOST)


class _Tally:
    """The chances that a trial gave to the tokens of each slot."""

    def __init__(self, network: RowNetwork) -> None:
        self.sums = [torch.zeros(2, size, dtype=torch.float64, device=network.embed.weight.device) for size in network.shape.slots]
        self.rows = [0] * len(self.sums)

    def add(self, slot: int, chances: Tensor) -> None:
        """Chances (rows, tokens) of rows of the trial in which the slot is drawn."""
        exact = chances.double()
        self.sums[slot] += torch.stack([exact.sum(dim=0), exact.square().sum(dim=0)])
        self.rows[slot] += len(chances)

    def mean(self, slot: int) -> tuple[Floats, Floats]:
        """Each token's mean chance, and its standard error."""
        mean, square = np.asarray(self.sums[slot].cpu(), dtype=np.float64) / self.rows[slot]
        return mean, np.sqrt(np.maximum(square - mean**2, 0) / self.rows[slot])


def _of_parents(one: PreparedTable) -> Iterator[Reference]:
    for references in one.references.values():
        yield from (reference for reference in references if reference.source == "parent")


def _of_parent(one: PreparedTable, prepared: Mapping[str, PreparedTable], reference: Reference) -> Floats:
    return take_or_nan(prepared[one.keys[reference.key].parent].moments[reference.column], one.parents[reference.key])
