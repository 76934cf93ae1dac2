"""The demonstration: a real schema in a warehouse, a scheduled-style Airflow run, and its synthetic twin beside it.

`ROWS` in the environment chooses about how many flights to take: a number, or `all`.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from airflow_run import PrivateAirflow
from flights import SCHEMA, build_warehouse, wanted_flights
from rich.console import Console
from summary import print_summary

from synth_engine.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = PROJECT / ".demo"
TARGET_SCHEMA = "synth"


def main() -> int:
    """Run everything anew; the exit code is 0 only if every task of the DAG succeeded."""
    console, started = Console(), time.monotonic()
    flights = wanted_flights(os.environ.get("ROWS", ""))
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    database, workspaces = FOLDER / "warehouse.duckdb", FOLDER / "workspaces"

    rows = build_warehouse(database, flights)
    listed = ", ".join(f"{count:,} {table}" for table, count in rows.items())
    console.print(f"[bold]{database}[/]: schema {SCHEMA} with {listed}", soft_wrap=True)
    connection = {"conn_type": "duckdb", "host": str(database)}
    airflow = PrivateAirflow(FOLDER / "airflow", PROJECT / "dags", {"synth_source": connection, "synth_target": connection})
    console.print(f"Airflow runs the DAG synth_refresh; its log: {airflow.log}", soft_wrap=True)
    params = {"source_schema": SCHEMA, "target_schema": TARGET_SCHEMA, "workspace": str(workspaces)}
    if not airflow.run_dag("synth_refresh", params, console):
        console.print(f"[bold red]The DAG run failed.[/] The whole log: {airflow.log}", soft_wrap=True)
        return 1

    (workspace,) = workspaces.iterdir()
    print_summary(Workspace(str(workspace)), console)
    seconds = time.monotonic() - started
    console.print(f"Schema {TARGET_SCHEMA} stands beside {SCHEMA} in {database} ({seconds:.0f} s in all).", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
