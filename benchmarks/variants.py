"""This product less one of its parts, or with another choice in one place: what an ablation compares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode import relative
from synth_engine.model import kept, learning, memorisation, preparation, rules, sampling, training
from synth_engine.model.partners import Partners
from synth_engine.model.prepared import PreparedTable
from synth_engine.model.state import TableModel
from synth_engine.model.summaries import Summary

Changes = Mapping[tuple[Any, str], Any]


@dataclass(frozen=True)
class Variant:
    """`changes` maps a part, by its home and its name, to what takes its place."""

    says: str
    changes: Changes

    @contextmanager
    def applied(self) -> Iterator[None]:
        with ExitStack() as stack:
            for (home, name), other in self.changes.items():
                stack.enter_context(patch.object(home, name, other))
            yield


def _no_summary(child: PreparedTable, key: int, parent_rows: int, seed: int, fewest: int) -> Summary:
    parent = child.parents[key]
    counts = np.bincount(parent[parent >= 0], minlength=parent_rows)
    return Summary(np.zeros((parent_rows, 2), dtype=np.int32), (1, 1), np.zeros((parent_rows, 1), np.float32), counts)


def _first_parent(table: TableModel) -> list[int]:
    return [table.owner] if table.owner is not None else table.live_keys[:1]


def _random_order(columns: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    while True:
        yield rng.permutation(columns)


def _any_order(*bounds: Any, **others: Any) -> training.Schedule:
    return training.Schedule(*bounds, **{**others, "any_order": True})


def _half_as_long(epochs: int, steps: int, *bounds: Any, **others: Any) -> training.Schedule:
    return training.Schedule(max(epochs // 2, 1), max(steps // 2, 1), *bounds, **others)


def _twice_as_long(epochs: int, steps: int, *bounds: Any, **others: Any) -> training.Schedule:
    return training.Schedule(2 * epochs, 2 * steps, *bounds, **others)


def _sizes(**changed: Any) -> Changes:
    return {(learning, "SIZES"): {name: replace(size, **changed) for name, size in learning.SIZES.items()}}


def _no_rules(*_: Any) -> list[Any]:
    return []


def _never(*_: Any) -> bool:
    return False


def _nothing(*_: Any) -> tuple[()]:
    return ()


def _none(*_: Any) -> None:
    return None


VARIANTS: dict[str, Variant] = {
    "no-summaries": Variant("no child summaries", {(learning, "summarise"): _no_summary}),
    "one-parent": Variant("one parent in the context, not all", {(TableModel, "context_keys"): property(_first_parent)}),
    "no-siblings": Variant("rows not told of their earlier siblings", {(learning, "_has_siblings"): _never}),
    "no-partners": Variant("links without codes of co-parents", {(Partners, "fit"): _none}),
    "no-goals": Variant("paths without a goal", {(relative, "LONG_WAY"): np.inf}),
    "any-order": Variant("every other batch in a random column order", {(learning, "Schedule"): _any_order}),
    "random-order": Variant(
        "all batches in random column orders", {(learning, "Schedule"): _any_order, (training, "column_orders"): _random_order}
    ),
    "rare-apart": Variant(
        "rare categories learned as one, drawn as any frequent one", {(room, "place_rare_values"): _none for room in (kept, preparation)}
    ),
    "no-company": Variant("categories that start from chance, not from what they occur with", {(training, "occurring_with"): _nothing}),
    "no-rules": Variant(
        "what holds in every row is drawn like anything else",
        {
            (rules, "find_repeated"): _no_rules,
            (rules, "find_derivations"): _no_rules,
            (rules, "find_aggregates"): _no_rules,
            (preparation, "find_dependencies"): _no_rules,
            (learning, "find_constants"): _no_rules,
            (learning, "find_paths"): _no_rules,
        },
    ),
    "unrestrained": Variant("what is learned by heart is not held back", {(memorisation, "SHRINKING"): 0.0, (memorisation, "PULL"): 0.0}),
    "uncalibrated": Variant("output biases as they were learned, none set by a trial", {(learning, "calibrate"): _none}),
    "half-width": Variant("hidden layers half as wide", _sizes(hidden=32, recurrent=64)),
    "double-width": Variant("hidden layers twice as wide", _sizes(hidden=128, recurrent=256)),
    "coarse": Variant("half the bins a column", _sizes(bins=32)),
    "fine": Variant("twice the bins a column", _sizes(bins=128)),
    "half-as-long": Variant("half the passes and steps, at up to twice the rate", {(learning, "Schedule"): _half_as_long}),
    "twice-as-long": Variant("twice the passes and steps, at down to half the rate", {(learning, "Schedule"): _twice_as_long}),
    "all-slots": Variant("all slots of small tables inform each other", {(training, "MANY_ROWS"): 0}),
    "chance": Variant("slots drawn by chance alone, not spread evenly", {(sampling, "MOST_SPREAD"): -1}),
    "no-averaging": Variant("weights as they are, not averaged", {(training, "AVERAGING"): 0.0}),
}
"""Size `medium` is what the comparison runs; the widths and bins are relative to it."""
