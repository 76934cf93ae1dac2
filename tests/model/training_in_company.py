"""Small trainings, done by as many processes as there are: alone as `python training_in_company.py FOLDER ROWS`, together under `torchrun`.

Leaves `FOLDER/<training>.npz` (the weights) and `FOLDER/results.json`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from synth_engine.model import training
from synth_engine.model.context import Context
from synth_engine.model.following import together, train_together
from synth_engine.model.network import NetworkShape
from synth_engine.model.training import Examples, Schedule

STEPS = 40


def some_examples(rows: int, sequence: np.ndarray | None, *, rare: bool) -> Examples:
    """Rows with a parent and a grandparent; `rare` leaves some tokens unlearned."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, rows)
    tokens = np.stack([first, (first + 1) % 4, rng.integers(0, 9, rows)], axis=1).astype(np.int32)
    grandparents = Context(50, (rng.integers(-1, 8, 50),), (rng.integers(0, 3, (8, 2)).astype(np.int32),))
    context = Context(rows, (rng.integers(-1, 50, rows),), (rng.integers(0, 5, (50, 3)).astype(np.int32),), (grandparents,))
    learn = rng.random((rows, 3)) < 0.9 if rare else None
    held_out = (np.arange(rows) if sequence is None else sequence) % 10 == 0
    return Examples(tokens, learn, context, sequence, held_out, [np.linspace(0, 1, 4), None, None], [None] * 5, summaries=1)


def trainings() -> dict[str, Examples]:
    uneven = np.sort(np.random.default_rng(1).integers(0, 400, 1500))
    return {
        "independent": some_examples(1500, None, rare=True),
        "sequences": some_examples(1500, uneven, rare=False),
        # of batches of one window each, one process of two gets nothing
        "long sequences": some_examples(330, np.arange(330) // 33, rare=True),
    }


def train_all(folder: Path, batch_rows: int) -> None:
    results = {}
    for name, examples in trainings().items():
        shape = NetworkShape((4, 4, 9), (0, 1, 1), (6, 6, 6, 4, 4), examples.sequence is not None, embedding=8, hidden=16, recurrent=8)
        schedule = Schedule(20, STEPS, None, 3, batch_rows=batch_rows)
        network, result = train_together(shape, examples, schedule, torch.device("cpu"), lambda *_: None)
        np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in network.state_dict().items()})
        results[name] = asdict(result)
    over = Schedule(20, STEPS, time.monotonic(), 3, batch_rows=batch_rows)
    _, result = train_together(shape, examples, over, torch.device("cpu"), lambda *_: None)
    results["over"] = asdict(result)
    (folder / "results.json").write_text(json.dumps(results))


def main(folder: str, batch_rows: str) -> None:
    if int(os.environ.get("RANK", "0")) > 0:  # the others' clock is another one, by which no time budget is ever over
        clock = time.monotonic()
        training.time.monotonic = lambda: clock - 1e6
    if "RANK" in os.environ:
        together(lambda: train_all(Path(folder), int(batch_rows)))
    else:
        train_all(Path(folder), int(batch_rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
