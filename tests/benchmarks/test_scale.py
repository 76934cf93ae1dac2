"""The tables of growing size: keys that join, twelve columns, and steps that run one by one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.scale import STEPS, measure, run_step, write_source


def test_orders_have_twelve_columns_and_customers_that_exist(tmp_path: Path) -> None:
    write_source(tmp_path / "run", 1_000)
    orders = pq.read_table(tmp_path / "run" / "data" / "orders.parquet")
    customers = pq.read_table(tmp_path / "run" / "data" / "customers.parquet")
    assert orders.shape == (1_000, 12) and len(customers) == 100
    assert pc.all(pc.is_in(orders["customer_id"], customers["customer_id"])).as_py()


@pytest.mark.slow
def test_every_step_is_measured(tmp_path: Path) -> None:
    found = measure(300, "small", tmp_path / "run")
    assert list(found) == list(STEPS)
    assert all(seconds > 0 and 0.01 < gigabytes < 10 for seconds, gigabytes in found.values())


def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    write_source(tmp_path / "run", 100)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run_step("train", tmp_path / "run", "small")
    assert "reflect" in failed.value.output
