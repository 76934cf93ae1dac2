"""This product, through its library; with a variant, less one of its parts (see `benchmarks.variants`)."""

from __future__ import annotations

from contextlib import nullcontext

from benchmarks.peers.contract import Task
from benchmarks.variants import VARIANTS
from synth_engine.library import generate, train
from synth_engine.schema import Schema


def main() -> None:
    task = Task.from_arguments()
    schema, tables = Schema.from_dict(task.raw_schema), task.arrow()
    settings = {"training": {"time_budget_seconds": task.cap_seconds * len(tables)}}
    with VARIANTS[task.variant].applied() if task.variant else nullcontext():
        with task.phase("training"):
            model = train(tables, schema, seed=task.seed, settings=settings)
        with task.phase("generation"):
            synthetic = generate(model, seed=task.seed)
    task.finish(synthetic)


if __name__ == "__main__":
    main()
