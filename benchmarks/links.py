"""Cost of assigning references: child rows from 10^4 to 10^7, two references to 10^5 parents each.

    python benchmarks/links.py [ROWS ...]

Degrees are drawn from a heavy-tailed distribution and fitted to the rows; every row wishes for a code of either parent; the
second table of rows is a bridge, whose pairs must not repeat. Each size runs in a process of its own, so that its peak
memory can be told. "per row" against that of the first line shows how far from linear the cost is.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from synth_engine.model.links import assign, fit_to_groups, without_duplicates

PARENTS, CODES = 100_000, 1_024
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


def measure(rows: int) -> tuple[float, float, float]:
    """Seconds for two references, seconds to part a bridge's repeated pairs, and peak memory in GB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_assign, (rows,))


def _assign(rows: int) -> tuple[float, float, float]:
    rng = np.random.default_rng(rows)
    one_group = np.zeros(PARENTS, np.int64)
    references = []
    began = time.perf_counter()
    for _ in range(2):
        codes = rng.integers(0, CODES, PARENTS)
        degrees = rng.lognormal(1.0, 1.0, PARENTS).astype(np.int64)
        quota = fit_to_groups(degrees, one_group, np.array([rows]), False, rng)
        references.append(assign(rng.integers(0, CODES, rows), codes, quota, rng))
        assert (np.bincount(references[-1], minlength=PARENTS) == quota).all()
    assigned = time.perf_counter()
    parents = np.arange(PARENTS)
    moved = without_duplicates(references[0], references[1], parents, np.zeros(rows, np.int64), rng)
    parted = time.perf_counter()
    assert len(np.unique(references[0] * PARENTS + moved)) == rows
    return assigned - began, parted - assigned, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks/links.py", description="What assigning references costs.")
    parser.add_argument("rows", nargs="*", type=int, help=f"default: {' '.join(map(str, SIZES))}")
    table = Table("rows", "two references", "per row", "repeated pairs parted", "peak memory", title=f"{PARENTS:,} parents a reference")
    for rows in parser.parse_args().rows or SIZES:
        assigned, parted, memory = measure(rows)
        table.add_row(f"{rows:,}", f"{assigned:.2f} s", f"{1e6 * assigned / rows:.2f} µs", f"{parted:.2f} s", f"{memory:.2f} GB")
    Console().print(table)


if __name__ == "__main__":
    main()
