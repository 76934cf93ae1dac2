"""What the engine's own scores leave out: associations over several keys, and between consecutive rows in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sdmetrics.single_column import KSComplement

from synth_engine.quality.columns import is_moment, numbers, scored_columns
from synth_engine.quality.contingency import Discretiser, bins_for, overlap
from synth_engine.quality.relations import parent_positions
from synth_engine.schema import Column, ForeignKey, Schema

FEWEST_PAIRS = 100
"""Fewer pairs of rows say little about their association."""

Frames = Mapping[str, pd.DataFrame]
Positions = NDArray[np.int64]
Path = tuple[tuple[str, ForeignKey], ...]


def ancestors(schema: Schema, real: Frames, synthetic: Frames, hops: int) -> list[float]:
    """How alike a row's columns and those of an ancestor so many keys above go together: one score for each pair of
    columns, 1 minus the total variation distance of their joint distributions."""
    scores: list[float] = []
    for path in _paths(schema, hops):
        child, top = path[0][0], path[-1][1].parent
        sides = []
        above, below = (_coders(real[name], scored_columns(schema, name)) for name in (top, child))
        for frames in (real, synthetic):
            positions = _followed(frames, path)
            rows = np.flatnonzero(positions >= 0)
            codes = {name: coder.codes(frames[child][name])[rows] for name, coder in below.items()}
            sides.append(({name: coder.codes(frames[top][name])[positions[rows]] for name, coder in above.items()}, codes, len(rows)))
        (real_above, real_below, pairs), (above_codes, below_codes, _) = sides
        if pairs < FEWEST_PAIRS:
            continue
        scores += [
            overlap([real_above[a], real_below[b]], [above_codes[a], below_codes[b]], [above[a].size, below[b].size])
            for a in above
            for b in below
        ]
    return scores


def order(schema: Schema, real: Frames, synthetic: Frames, seed: int) -> list[float]:
    """How alike consecutive rows follow one another: rows of one parent in the order of their first moment.

    For each key of a table that has a moment: how the value of each column goes together with the next row's (1 minus the
    total variation distance), and the time from one row to the next (Kolmogorov-Smirnov complement).
    """
    scores: list[float] = []
    for name, table in schema.tables.items():
        columns = scored_columns(schema, name)
        moment = next((c for c in columns if is_moment(c)), None)
        if moment is None:
            continue
        coders = _coders(real[name], columns)
        for key in table.foreign_keys:
            pairs = [_consecutive(frames, name, key, moment, seed) for frames in (real, synthetic)]
            if len(pairs[0][0]) < FEWEST_PAIRS:
                continue
            for column, coder in coders.items():
                codes = [coder.codes(frames[name][column]) for frames in (real, synthetic)]
                sides = [[code[first], code[second]] for code, (first, second) in zip(codes, pairs, strict=True)]
                scores.append(overlap(sides[0], sides[1], [coder.size, coder.size]))
            times = [numbers(frames[name][moment.name], moment) for frames in (real, synthetic)]
            gaps = [pd.Series(time[second] - time[first]) for time, (first, second) in zip(times, pairs, strict=True)]
            scores.append(float(KSComplement.compute(gaps[0], gaps[1])) if len(gaps[1]) else 0.0)
    return scores


def _paths(schema: Schema, hops: int) -> Iterator[Path]:
    """Every chain of so many keys upward that comes to no table twice."""

    def onward(path: Path) -> Iterator[Path]:
        if len(path) == hops:
            yield path
            return
        name = path[-1][1].parent
        for key in schema.tables[name].foreign_keys:
            if key.parent not in {name, *(child for child, _ in path)}:
                yield from onward((*path, (name, key)))

    for name, table in schema.tables.items():
        for key in table.foreign_keys:
            if key.parent != name:
                yield from onward(((name, key),))


def _followed(frames: Frames, path: Path) -> Positions:
    """For each row at the bottom of the path the row at its top, -1 where a key on the way is null."""
    found = np.arange(len(frames[path[0][0]]))
    for name, key in path:
        above = np.append(parent_positions(frames[name], frames[key.parent], key), -1)
        found = above[found]
    return found


def _consecutive(frames: Frames, name: str, key: ForeignKey, moment: Column, seed: int) -> tuple[Positions, Positions]:
    """Rows of one parent and the row that comes next; rows of one moment follow one another at random."""
    positions = parent_positions(frames[name], frames[key.parent], key)
    time = numbers(frames[name][moment.name], moment)
    rows = np.flatnonzero((positions >= 0) & ~np.isnan(time))
    chance = np.random.default_rng(seed).random(len(rows))
    rows = rows[np.lexsort((chance, time[rows], positions[rows]))]
    same = positions[rows][1:] == positions[rows][:-1]
    return rows[:-1][same], rows[1:][same]


def _coders(frame: pd.DataFrame, columns: Sequence[Column]) -> dict[str, Discretiser]:
    return {c.name: Discretiser.fit(frame[c.name], c, bins_for(len(frame))) for c in columns}
