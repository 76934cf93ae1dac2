"""Everything a synthetic database is scored by, in one object; its summary is what the page shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.association import ancestors, order
from benchmarks.integrity import Reading, faults
from benchmarks.privacy import Privacy, measure
from benchmarks.split import FEWEST_ROWS, Halves
from benchmarks.utility import is_lacking, utility
from synth_engine.quality.fidelity import Fidelity, score
from synth_engine.schema import Schema

MOST_HOPS = 3

Frames = Mapping[str, pd.DataFrame]
Tables = Mapping[str, pa.Table]


@dataclass(frozen=True)
class Scores:
    """`summary` by the names in `page.FIGURES`; a figure that there is nothing to compute from is None."""

    summary: dict[str, float | None]
    faults: list[str]
    remarks: list[str]
    fidelity: dict[str, Any]
    utility: dict[str, float]
    privacy: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def score_synthetic(schema: Schema, real: Halves, synthetic: Reading, seed: int) -> Scores:
    """What a peer made of the training half. Without a held-out half there are no figures of privacy but copies, and models are tested
    on the training rows, which they have not seen either."""
    training, held_out, made = (_frames(tables) for tables in (real.training, real.held_out, synthetic.tables))
    split = [name for name in schema.tables if name not in real.shared] or list(schema.tables)
    without = all(len(table) == 0 for table in real.held_out.values())
    fidelity = score(schema, training, made, seed=seed)
    answers = utility(schema, made, training if without else held_out, split, seed)
    privacy = measure(schema, training, held_out, made, split, seed)
    found = _scores(schema, real, fidelity, (training, made), answers, privacy, seed)
    broken = [*synthetic.faults, *faults(schema, real.training, synthetic.tables)]
    return replace(found, summary=found.summary | {"faults": len(broken)}, faults=broken, remarks=synthetic.remarks)


def score_ceiling(schema: Schema, real: Halves, seed: int) -> Scores:
    """The held-out half, held against the training half as if a peer had made it.

    Tables that both halves hold in full are themselves compared half against half of their rows.
    """
    training, held_out = _frames(real.training), _frames(real.held_out)
    split = [name for name in schema.tables if name not in real.shared]
    relations = score(schema, training, held_out, seed=seed)
    generator = np.random.default_rng(seed)
    parts = {name: generator.permutation(len(training[name])) for name in sorted(real.shared)}
    ours, theirs = (
        {name: frame.iloc[parts[name][side::2]] if name in parts else frame for name, frame in frames.items()}
        for side, frames in enumerate((training, held_out))
    )
    fidelity = Fidelity(score(schema, ours, theirs, seed=seed).tables, relations.relations, relations.summary)
    answers = utility(schema, training, held_out, split, seed)
    copies = measure(schema, training, held_out, held_out, split, seed).copies
    return _scores(schema, real, fidelity, (training, held_out), answers, Privacy(copies, copies, None, None, ()), seed)


def _scores(
    schema: Schema,
    real: Halves,
    fidelity: Fidelity,
    sides: tuple[Frames, Frames],
    answers: dict[str, float],
    privacy: Privacy,
    seed: int,
) -> Scores:
    judged = {name: fidelity.tables[name] for name in _judged(schema, real)}
    lacking = {name: 1.0 for name in judged if is_lacking(*(len(frames[name]) for frames in sides))}  # told from real rows at once
    lacking_parents = {name: 1.0 for name in lacking if schema.children_of(name)}
    summary: dict[str, float | None] = {
        "rows": _mean(_ratio(len(sides[0][name]), len(sides[1][name])) for name in schema.tables),
        "faults": 0,
        "shapes": _mean(s for table in judged.values() for s in table.shapes.values()),
        "pairs": _mean(p[2] for table in judged.values() for p in table.pairs),
        "cardinality": fidelity.summary["cardinality"],
        "parent_child": fidelity.summary["parent_child"],
        "siblings": fidelity.summary["siblings"],
        "order": _mean(order(schema, *sides, seed)),
        "c2st": _mean([*lacking.values(), *(_told(t.detection.accuracy) for t in judged.values() if t.detection)]),
        "c2st_children": _mean(
            [*lacking_parents.values(), *(_told(t.detection_with_children.accuracy) for t in judged.values() if t.detection_with_children)]
        ),
        "utility": _mean(answers.values()),
        "copies": privacy.copies,
        "closer": privacy.closer,
        "membership": privacy.membership,
    }
    summary |= {f"hops_{hops}": _mean(ancestors(schema, *sides, hops)) for hops in range(2, MOST_HOPS + 1)}
    return Scores(summary, [], [], fidelity.to_dict(), answers, privacy.to_dict())


def _judged(schema: Schema, real: Halves) -> Collection[str]:
    """Tables whose own rows are compared. Of a small one that both halves hold there is no ceiling: its children tell."""
    return [name for name in schema.tables if name not in real.shared or len(real.training[name]) >= FEWEST_ROWS]


def _told(accuracy: float) -> float:
    """A classifier that is wrong more often than by chance has found something too."""
    return max(accuracy, 1 - accuracy)


def _ratio(first: int, second: int) -> float:
    return min(first, second) / max(first, second, 1) if first or second else 1.0


def _frames(tables: Tables) -> dict[str, pd.DataFrame]:
    return {name: table.to_pandas() for name, table in tables.items()}


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return round(float(np.mean(listed)), 4) if listed else None
