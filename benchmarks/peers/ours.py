"""This product, through its library."""

from __future__ import annotations

from benchmarks.peers.contract import Task
from synth_engine.library import generate, train
from synth_engine.schema import Schema


def main() -> None:
    task = Task.from_arguments()
    schema, tables = Schema.from_dict(task.raw_schema), task.arrow()
    settings = {"training": {"time_budget_seconds": task.cap_seconds * len(tables)}}
    with task.phase("training"):
        model = train(tables, schema, seed=task.seed, settings=settings)
    with task.phase("generation"):
        synthetic = generate(model, seed=task.seed)
    task.finish(synthetic)


if __name__ == "__main__":
    main()
