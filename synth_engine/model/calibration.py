"""A trained network is drawn on trial, and its output biases are set so that tokens come as often as in the source.

A network tells each token from real ones before it, but draws it from its own: what is a little off in one column leads the next
astray, and tokens come more or less often than they should. By how much is seen in the chances that a trial gives them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth_engine.encode.base import Floats
from synth_engine.encode.relative import Reference
from synth_engine.model.context import Context
from synth_engine.model.devices import moved
from synth_engine.model.network import RowNetwork
from synth_engine.model.prepared import PreparedTable, take_or_nan
from synth_engine.model.requests import row_request
from synth_engine.model.sampling import BLOCK, sample
from synth_engine.model.state import Model
from synth_engine.progress import Advance, Listener, ignore
from synth_engine.randomness import generator, stream

ROWS = 16_384
"""Rows of a trial of sequences; of independent rows as many as are drawn at once (`sampling.BLOCK`). Of a larger table some, of a smaller
one all, equally often."""
LONGEST = 2_000
"""Longer sequences are not tried: they are drawn row after row. Where most rows are in such, nothing is."""
GROUPS, FEWEST_GROUPS = 16, 8
"""Parts of a trial by whose differences its errors are known, and how many it takes."""
STANDARD_ERRORS = 2.0
"""A mean chance that is off by less is left alone, and one that is off by more moved the less the nearer it is to that."""
STEPS = (0.5, 0.5)
"""Rows that are not drawn at once: shares of what is off that biases are moved by, each after a trial of its own. Part of it goes when
others are set right."""
MOST = 1.0
"""By how much a bias is moved at most in one step (a factor of e)."""


@dataclass(frozen=True)
class Trial:
    """Which rows of a prepared table stand for those of a trial, in what sequences, and what their parents have in the columns that
    others are told from."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    of_parents: Mapping[Reference, Floats]
    whole: bool
    """Whether these are all rows of the table, each equally often."""

    @classmethod
    def of(cls, one: PreparedTable, prepared: Mapping[str, PreparedTable], seed: int) -> Trial:
        """Whole sequences, in random order; those of a small table equally often."""
        sequence = np.arange(one.rows) if one.sequence is None else one.sequence
        first = np.flatnonzero(np.r_[True, sequence[1:] != sequence[:-1]][: one.rows])
        length = np.diff(np.r_[first, one.rows])
        most = BLOCK if length.max(initial=1) == 1 else ROWS
        short = np.flatnonzero(length <= LONGEST)
        there = int(length[short].sum())
        if 2 * there < one.rows:
            short = short[:0]
        chosen = generator(seed, "trial", one.table.name).permutation(short)[:most]  # each has a row at least
        chosen = np.tile(chosen, max(1, most // max(there, 1)))
        chosen = chosen[: np.searchsorted(np.cumsum(length[chosen]), most, side="right")]
        lengths = length[chosen]
        starts = np.r_[0, np.cumsum(lengths)[:-1]].astype(np.int64)[: len(lengths)]
        rows = np.repeat(first[chosen] - starts, lengths) + np.arange(lengths.sum())
        return cls(rows, starts, lengths, {r: _of_parent(one, prepared, r, rows) for r in _of_parents(one)}, there == one.rows <= most)

    @property
    def at_once(self) -> bool:
        """Whether all rows are drawn together, slot by slot."""
        return len(self.rows) <= BLOCK and bool((self.lengths == 1).all())

    @property
    def groups(self) -> NDArray[np.int64]:
        """Which part of the trial each row is in: parts are of whole sequences, and of one size as far as these allow."""
        return np.repeat(self.starts * GROUPS // max(len(self.rows), 1), self.lengths)


def calibrate(
    model: Model,
    name: str,
    trial: Trial,
    tokens: NDArray[np.int32],
    learned: NDArray[np.bool_],
    context: Context,
    seed: int,
    device: torch.device,
    listener: Listener = ignore,
) -> None:
    """Set the biases of a table's row network in place. `tokens` are those of the source's rows, (rows, slots), `learned` those of them
    that count, `context` what its rows know of their parents. Chances are compared with the tokens of the same rows.

    Independent rows are drawn all at once, and each slot from those before it as they have been set. Of others only a
    whole trial tells what a slot's chances come to, so all are set after it, by a part of what is off, and once more.
    Columns told as steps are left as they are: a step's chances hang on how far there is to go.
    """
    network, hidden = model.tables[name].row_network, len(model.hidden_sizes(name))
    groups = trial.groups
    if network is None or len(np.unique(groups)) < FEWEST_GROUPS:
        return
    tokens, learned, context = tokens[trial.rows], learned[trial.rows], context.of(trial.rows)
    given = tokens[:, :hidden] if name in model.skeletons or model.tables[name].hidden_rows is not None else None
    for number, share in enumerate((1.0,) if trial.at_once else STEPS):
        drawn_by = stream(seed, "trial", name, number)
        request = row_request(model, name, context, (trial.starts, trial.lengths), trial.of_parents.__getitem__, given, drawn_by)
        steps = {slot for column in request.relative for slot in column.slots}
        biases = _Biases(network, tokens, learned, groups, trial.whole, steps, device)
        request.observe = biases.set_at_once if trial.at_once else biases.observe
        sample(network, request, device, Advance("train", f"{name} drawn on trial", listener))
        if not trial.at_once:
            for slot in biases.observed:
                biases.set(slot, share)


class _Biases:
    """The output biases of a network, set by what a trial is drawn by. `tokens` and `learned` are those of the real rows that the trial
    stands for, `groups` the parts of it that they are in, `whole` says whether the table has no others; slots of `left` are left as they
    are."""

    def __init__(
        self,
        network: RowNetwork,
        tokens: NDArray[np.int32],
        learned: NDArray[np.bool_],
        groups: NDArray[np.int64],
        whole: bool,
        left: Collection[int],
        device: torch.device,
    ) -> None:
        self.network, self.tokens, self.learned = network, tokens, learned
        self.groups, self.whole, self.left = groups, whole, left
        self.there = moved(groups, device)
        self.chances: dict[int, Tensor] = {}

    @property
    def observed(self) -> list[int]:
        return sorted(self.chances)

    def observe(self, slot: int, rows: NDArray[np.int64], chances: Tensor) -> None:
        """Add up the chances (rows, tokens) of these rows of the trial, all zero in rows in which the slot says nothing."""
        if slot in self.left:
            return
        if slot not in self.chances:
            self.chances[slot] = torch.zeros(GROUPS, chances.shape[1], dtype=torch.float64, device=chances.device)
        self.chances[slot].index_add_(0, self.there[moved(rows, chances.device)], chances.double())

    def set_at_once(self, slot: int, rows: NDArray[np.int64], chances: Tensor) -> Tensor | None:
        """The same of all rows of the trial: what follows is drawn from columns that are set right."""
        self.observe(slot, rows, chances)
        return None if slot in self.left else self.set(slot, 1.0)

    def set(self, slot: int, share: float) -> Tensor:
        """Move the biases of a slot by a share of what is off; returns by how much."""
        counted, size = self.learned[:, slot], self.network.shape.slots[slot]
        cells = self.groups[counted] * size + self.tokens[counted, slot]
        counts = np.bincount(cells, minlength=GROUPS * size).reshape(GROUPS, size)
        bucket, place = self.network.home[slot]
        bias = self.network.head_bias[bucket]
        shift = torch.from_numpy(share * _shift(counts, self.chances[slot].cpu().numpy(), self.whole)).to(bias)
        with torch.no_grad():
            bias[place, :size] += shift
        return shift


def _shift(counts: NDArray[np.int64], chances: Floats, whole: bool) -> Floats:
    """By how much to move the bias of each token, given how often it comes in each part of the trial's real rows, and its chances summed
    over the same part as drawn, both (groups, tokens). What chance may account for is left out: of a difference of n of its
    standard errors 1 - (s / n)^2 remain (the non-negative garrote of Breiman, "Better subset regression", 1995)."""
    real, drawn = counts.sum(), chances.sum()
    if not real or not drawn:
        return np.zeros(counts.shape[1])
    frequency, chance = counts.sum(axis=0) / real, chances.sum(axis=0) / drawn
    # of a ratio of two sums, what each group adds to it beyond its part
    beyond = (chances - chances.sum(axis=1, keepdims=True) * chance) / drawn
    if not whole:  # other rows of the table would come otherwise, too
        beyond -= (counts - counts.sum(axis=1, keepdims=True) * frequency) / real
    groups = np.count_nonzero(chances.sum(axis=1))
    error = np.sqrt((beyond**2).sum(axis=0) * groups / max(groups - 1, 1))
    kept = 1 - (STANDARD_ERRORS * error / np.maximum(np.abs(frequency - chance), 1e-12)) ** 2
    least = 0.5 / real
    shift: Floats = np.clip(kept, 0, 1) * np.log((frequency + least) / (chance + least))
    return np.clip(shift, -MOST, MOST)


def _of_parents(one: PreparedTable) -> Iterator[Reference]:
    for references in one.references.values():
        yield from (reference for reference in references if reference.source == "parent")


def _of_parent(one: PreparedTable, prepared: Mapping[str, PreparedTable], reference: Reference, rows: NDArray[np.int64]) -> Floats:
    return take_or_nan(prepared[one.keys[reference.key].parent].moments[reference.column], one.parents[reference.key][rows])
