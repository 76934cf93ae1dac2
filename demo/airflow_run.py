"""One run of a DAG in a private Airflow, shown as it happens.

Airflow gets a home of its own with SQLite metadata; its whole log goes to a file, and what a person wants to see of
it (which task runs, how far it is, what went wrong) to the terminal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

OPERATORS = "airflow.task.operators.airflow_provider_synth"
"""Loggers below this name belong to the operators of the provider."""

TASK_STARTS = "[DAG TEST] starting task_id="
LAST_LINES = 15


@dataclass(frozen=True)
class PrivateAirflow:
    """An Airflow with its own home, metadata, connections and DAG folder."""

    home: Path
    dags: Path
    connections: Mapping[str, Mapping[str, str]]

    @property
    def log(self) -> Path:
        return self.home / "airflow.log"

    def run_dag(self, dag_id: str, params: Mapping[str, Any], console: Console) -> bool:
        """Prepare the metadata, run the DAG once and show it. True if every task succeeded."""
        self.home.mkdir(parents=True)
        with self.log.open("w", encoding="utf-8") as log:
            command = self._command("db", "migrate")
            migrated = subprocess.run(command, env=self._environment(), stdout=log, stderr=subprocess.STDOUT, check=False)
        if migrated.returncode != 0:
            self._show_end_of_log(console)
            return False
        command = self._command("dags", "test", dag_id, "--conf", json.dumps(params))
        view = RunView(console)
        with (
            self.log.open("a", encoding="utf-8") as log,
            subprocess.Popen(command, env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                view.show(line)
        if process.returncode != 0 and not view.explained:
            self._show_end_of_log(console)
        return process.returncode == 0

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "airflow", *words]

    def _environment(self) -> dict[str, str]:
        """The caller's environment without its own Airflow settings, and ours."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        ours = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "AIRFLOW__LOGGING__JSON_LOGS": "True",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PYTHONUNBUFFERED": "1",
        }
        connections = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(connection) for name, connection in self.connections.items()}
        return inherited | ours | connections

    def _show_end_of_log(self, console: Console) -> None:
        for line in self.log.read_text(encoding="utf-8").splitlines()[-LAST_LINES:]:
            console.print(escape(line), style="dim")


class RunView:
    """Airflow's JSON log, line by line, turned into what a person wants to see."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self.explained = False
        """Whether an error was shown that says why the run failed."""

    def show(self, line: str) -> None:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            return  # libraries print what they like; it is in the log file
        if not isinstance(record, dict):
            return
        event, logger, level = str(record.get("event", "")), str(record.get("logger", "")), record.get("level")
        if event.startswith(TASK_STARTS):
            task = event.removeprefix(TASK_STARTS).split()[0].rsplit(".", 1)[-1]
            self._print(f"[bold cyan]{escape(task)}[/]")
        elif level in ("error", "critical"):
            self._show_error(record)
        elif logger.startswith(OPERATORS):
            self._print(f"  {escape(event)}")

    def _show_error(self, record: dict[str, Any]) -> None:
        self.explained = True
        reasons = list(_reasons(record)) or [str(record.get("event"))]
        for reason in reasons:
            self._print(f"  [bold red]{escape(reason)}[/]")

    def _print(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._started:6.1f} s[/]  {text}", highlight=False, soft_wrap=True)


def _reasons(record: dict[str, Any]) -> Iterator[str]:
    for exception in record.get("exception") or record.get("error_detail") or []:
        yield f"{exception['exc_type']}: {exception['exc_value']}"
