"""Time and peak memory of every step of a run as the tables grow: orders of 12 columns, and a tenth as many customers.

    python -m benchmarks.scale [--rows ROWS ...] [--size small|medium|large] [--folder FOLDER]

The tables are drawn at random and written as Parquet; each step is a process of its own, as in a scheduled run. "of proportional"
is a step's time divided by what it would be if it had grown with the rows from the first size on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

SIZES = (156_250, 625_000, 2_500_000, 10_000_000)
STEPS = ("reflect", "extract", "train", "generate", "load", "validate", "publish")
CHUNK = 500_000
"""Orders written at a time."""

ORDERS_A_CUSTOMER = 10
SCHEMA = """\
tables:
  customers:
    primary_key: [customer_id]
    columns:
      customer_id: {kind: identifier}
  orders:
    primary_key: [order_id]
    columns:
      order_id: {kind: identifier}
      customer_id: {kind: identifier}
    foreign_keys:
      - {columns: [customer_id], references: {table: customers, columns: [customer_id]}}
"""


def write_source(folder: Path, orders: int, seed: int = 0) -> None:
    """Customers and their orders as Parquet, with a schema file beside them."""
    rng = np.random.default_rng(seed)
    (folder / "data").mkdir(parents=True)
    (folder / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
    customers = max(orders // ORDERS_A_CUSTOMER, 1)
    segment = rng.integers(0, 5, customers)
    age = rng.normal(35 + 5 * segment, 8).round().astype(np.int64)
    since = np.datetime64("2018-01-01", "s") + rng.integers(0, 3 * 365 * 86_400, customers)
    names = pa.array(["new", "basic", "plus", "business", "partner"])
    table = {"customer_id": np.arange(1, customers + 1), "segment": names.take(pa.array(segment)), "age": age, "since": since}
    pq.write_table(pa.table(table), folder / "data" / "customers.parquet")
    owner = np.sort(rng.choice(customers, orders, p=_heavy(customers, rng)))
    writer = None
    for start in range(0, orders, CHUNK):
        part = owner[start : start + CHUNK]
        chunk = _orders(start, part, segment[part], since[part], rng)
        writer = writer or pq.ParquetWriter(folder / "data" / "orders.parquet", chunk.schema)
        writer.write_table(chunk)
    if writer is not None:
        writer.close()


def _heavy(customers: int, rng: np.random.Generator) -> np.ndarray:
    """How likely an order is each customer's: many have few, few have many."""
    weight = rng.lognormal(0, 0.7, customers)
    return np.asarray(weight / weight.sum())


def _orders(start: int, owner: np.ndarray, segment: np.ndarray, since: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """Ten columns beside the two keys, which depend on the customer's segment and on each other."""
    n = len(owner)
    product = np.minimum(rng.zipf(1.5, n) + 20 * segment, 999)
    quantity = 1 + rng.poisson(0.5 + 0.5 * segment)
    price = np.round(np.exp(rng.normal(2 + (product % 7) / 3, 0.4)), 2)
    returned = rng.random(n) < 0.05 + 0.02 * segment
    channels, countries = pa.array(["web", "app", "store", "phone"]), pa.array([f"C{i:02d}" for i in range(30)])
    rating = pa.array(np.clip(np.round(rng.normal(4 - returned, 1)), 1, 5).astype(np.int64), mask=rng.random(n) < 0.4)
    return pa.table(
        {
            "order_id": np.arange(start + 1, start + n + 1),
            "customer_id": owner + 1,
            "ordered_at": since + (rng.exponential(200 * 86_400, n)).astype(np.int64),
            "channel": channels.take(pa.array((rng.random(n) * (1 + segment / 2)).astype(np.int64) % 4)),
            "country": countries.take(pa.array(np.minimum(rng.geometric(0.15, n) - 1, 29))),
            "product": product,
            "quantity": quantity,
            "price": price,
            "amount": np.round(price * quantity, 2),
            "weight_kg": np.round(rng.gamma(2.0, 0.5 + 0.1 * segment) * quantity, 3),
            "returned": returned,
            "rating": rating,
        }
    )


def run_step(step: str, folder: Path, size: str) -> tuple[float, float]:
    """Seconds and peak memory in GB of one step. Raises `CalledProcessError` with what it printed if it fails."""
    place = {"--source": folder / "data", "--schema": folder / "schema.yaml", "--target": folder / "out"}
    takes = {"reflect": ["--source", "--schema"], "extract": ["--source"]} | {last: ["--target"] for last in STEPS[4:]}
    config = folder / "config.yaml"
    config.write_text(f"training: {{size: {size}}}\n", encoding="utf-8")
    command = [sys.executable, "-m", "synth_engine", step, "--workspace", str(folder / "workspace"), "--config", str(config)]
    command += [part for option in takes.get(step, []) for part in (option, str(place[option]))]
    log = folder / f"{step}.log"
    began = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, log.read_text(encoding="utf-8", errors="replace"))
    return time.perf_counter() - began, usage.ru_maxrss / 1e6


def measure(rows: int, size: str, folder: Path) -> dict[str, tuple[float, float]]:
    write_source(folder, rows)
    try:
        return {step: run_step(step, folder, size) for step in STEPS}
    finally:
        shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Time and peak memory as tables grow.")
    parser.add_argument("--rows", nargs="+", type=int, default=SIZES, metavar="ROWS", help=f"orders (default: {SIZES})")
    parser.add_argument("--size", default="medium", choices=("small", "medium", "large"), help="training.size (default: medium)")
    parser.add_argument("--folder", type=Path, help="where the tables are written meanwhile (default: a temporary folder)")
    arguments = parser.parse_args()
    console = Console(width=140)
    shown = Table("rows", *(f"{step}, s" for step in STEPS), "peak memory, GB", title="orders of 12 columns and a tenth as many customers")
    first: dict[str, tuple[float, float]] = {}
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
            try:
                found = measure(rows, arguments.size, Path(place) / "run")
            except subprocess.CalledProcessError as error:
                console.print(f"{rows:,} rows: {' '.join(error.cmd[3:4])} failed:\n{error.output}", markup=False)
                return 1
        first = first or found
        factor = rows / arguments.rows[0]
        cells = [f"{s:,.1f} ({s / (factor * first[step][0]):.2f})" for step, (s, _) in found.items()]
        peaks = ", ".join(f"{step} {gb:.1f}" for step, (_, gb) in found.items() if step in ("extract", "train", "generate", "load"))
        console.print(f"{rows:,} rows: {peaks} GB", style="dim")
        shown.add_row(f"{rows:,}", *cells, f"{max(gb for _, gb in found.values()):.2f}")
    console.print(shown)
    console.print("in brackets: of proportional to the first line")
    return 0


if __name__ == "__main__":
    sys.exit(main())
