"""The DAG that comes with the provider, run by a real Airflow against a real warehouse."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import create_engine, make_url, text

from synth_engine.workspace import STEPS, Workspace
from tests.conftest import postgres_url  # noqa: F401 (a fixture is used by its name)

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

DAGS = Path(__file__).resolve().parents[1] / "dags"
CUSTOMERS, ORDERS = 240, 720
RARE_CITY = "Canary-on-Sea"
"""Only one customer lives there."""
PASSWORD = "canary-secret"
QUICK = {"training": {"size": "small", "max_epochs": 4}}

DEFINITIONS = """
CREATE SCHEMA shop;
CREATE TABLE shop.customers (
    customer_id INTEGER PRIMARY KEY, email VARCHAR NOT NULL UNIQUE, city VARCHAR NOT NULL, joined DATE NOT NULL
);
CREATE TABLE shop.orders (
    order_id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES shop.customers (customer_id),
    amount DECIMAL(10, 2) NOT NULL, paid BOOLEAN
);
"""
INSERT_CUSTOMERS = """
INSERT INTO shop.customers
SELECT i, substr(md5(i::VARCHAR), 1, 12) || '@mail.example', CASE WHEN i = 7 THEN $rare_city ELSE ['Rome', 'Oslo', 'Lima'][1 + i % 3] END,
    DATE '2020-01-01' + (i * 3)::INTEGER
FROM range(1, $customers + 1) t(i)
"""
INSERT_ORDERS = """
INSERT INTO shop.orders
SELECT i, CASE WHEN i % 20 > 0 THEN 1 + (i * i) % $customers END, 5 + (i * 37 % 4000) / 100, [true, false, NULL][1 + i % 3]
FROM range(1, $orders + 1) t(i)
"""
COLUMNS = "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() WHERE schema_name = $schema ORDER BY ALL"
KEYS = """
SELECT table_name, constraint_type, constraint_column_names, referenced_table, referenced_column_names
FROM duckdb_constraints() WHERE schema_name = $schema AND constraint_type <> 'CHECK' ORDER BY ALL
"""
ORPHANS = "SELECT count(*) FROM synth.orders o ANTI JOIN synth.customers c USING (customer_id) WHERE o.customer_id IS NOT NULL"


@dataclass(frozen=True)
class Run:
    """A finished DAG run: its exit code, what it printed, the final state and the result of every task."""

    exit_code: int
    output: str
    states: dict[str, str]
    results: dict[str, Any]


@dataclass
class Airflow:
    """A private Airflow in a folder of its own, whose two connections reach the same warehouse."""

    folder: Path
    connection: Mapping[str, Any]
    runs: list[Run] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "airflow"

    @property
    def workspaces(self) -> Path:
        return self.folder / "workspaces"

    def start(self) -> Airflow:
        self.home.mkdir()
        migrated = self.command("db", "migrate")
        assert migrated.returncode == 0, migrated.stdout
        return self

    def told(self) -> list[bytes]:
        """All that this Airflow has printed, logged or stored, and all that may leave a workspace."""
        written = [path for path in (self.home / "logs").rglob("*") if path.is_file()] + [self.home / "airflow.db"]
        for workspace in self.workspaces.iterdir():
            written += [path for path in workspace.rglob("*") if path.is_file() and path.relative_to(workspace).parts[0] != "real"]
        return [run.output.encode() for run in self.runs] + [path.read_bytes() for path in written]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")} | {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_SYNTH_SOURCE": json.dumps(self.connection),
            "AIRFLOW_CONN_SYNTH_TARGET": json.dumps(self.connection),
            "PYTHONPATH": str(DAGS.parent),
        }
        command, together = [sys.executable, "-m", "airflow", *words], subprocess.STDOUT
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=together, text=True, timeout=600, check=False)

    def run(self, config: Mapping[str, Any] = QUICK, **params: Any) -> Run:
        known = {row[0] for row in self.metadata("SELECT run_id FROM dag_run")}
        conf = {"source_schema": "shop", "target_schema": "synth", "workspace": str(self.workspaces), "config": config} | params
        done = self.command("dags", "test", "synth_refresh", "--conf", json.dumps(conf))
        (run_id,) = {row[0] for row in self.metadata("SELECT run_id FROM dag_run")} - known
        states = dict(self.metadata("SELECT task_id, state FROM task_instance WHERE run_id = ?", run_id))
        xcoms = self.metadata("SELECT task_id, value FROM xcom WHERE run_id = ? AND key = 'return_value'", run_id)
        run = Run(done.returncode, done.stdout, states, {task: decoded(value) for task, value in xcoms})
        self.runs.append(run)
        return run

    def metadata(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.home / "airflow.db") as connection:
            return connection.execute(statement, values).fetchall()

    def query(self, statement: str, **values: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(self.connection["host"], read_only=True) as connection:
            return connection.execute(statement, values).fetchall()

    def target(self) -> list[list[tuple[Any, ...]]]:
        """Everything the synthetic schema holds."""
        return [self.query("SELECT * FROM synth.customers ORDER BY ALL"), self.query("SELECT * FROM synth.orders ORDER BY ALL")]


def decoded(value: Any) -> Any:
    """An XCom as it lies in the metadata: JSON, once or twice."""
    while isinstance(value, (str, bytes)):
        value = json.loads(value)
    return value


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    folder = tmp_path_factory.mktemp("refresh")
    database = str(folder / "warehouse.duckdb")
    with duckdb.connect(database) as connection:
        connection.execute(DEFINITIONS)
        connection.execute(INSERT_CUSTOMERS, {"rare_city": RARE_CITY, "customers": CUSTOMERS})
        connection.execute(INSERT_ORDERS, {"customers": CUSTOMERS, "orders": ORDERS})
    return Airflow(folder, {"conn_type": "duckdb", "host": database, "password": PASSWORD}).start()


@pytest.fixture(scope="module")
def first(airflow: Airflow) -> Run:
    run = airflow.run()
    assert run.exit_code == 0, run.output
    return run


def test_every_step_is_a_task_of_its_own_and_succeeds(first: Run) -> None:
    assert first.states == {f"refresh.{step}": "success" for step in STEPS}


def test_the_synthetic_schema_stands_beside_the_real_one_with_the_same_tables_types_and_keys(airflow: Airflow, first: Run) -> None:
    for statement in (COLUMNS, KEYS):
        assert airflow.query(statement, schema="synth") == airflow.query(statement, schema="shop")


def test_row_counts_are_kept_and_every_reference_has_its_row(airflow: Airflow, first: Run) -> None:
    [(customers,)], [(orders,)] = airflow.query("SELECT count(*) FROM synth.customers"), airflow.query("SELECT count(*) FROM synth.orders")
    assert (customers, orders) == (pytest.approx(CUSTOMERS, rel=0.01), pytest.approx(ORDERS, rel=0.01))
    assert airflow.query(ORPHANS) == [(0,)]


def test_tasks_hand_on_small_json_with_the_workspace_and_figures(airflow: Airflow, first: Run) -> None:
    assert set(first.results) == {f"refresh.{step}" for step in STEPS}
    workspaces = {result["workspace"] for result in first.results.values()}
    assert len(workspaces) == 1
    assert Path(workspaces.pop()).parent == airflow.workspaces
    assert first.results["refresh.extract"]["rows"] == {"customers": CUSTOMERS, "orders": ORDERS}
    assert len(json.dumps(first.results)) < 20_000


def test_the_report_lies_where_the_last_task_says(first: Run) -> None:
    result = first.results["refresh.report"]
    assert "<html" in Workspace(result["workspace"]).read_bytes(result["path"]).decode().lower()


def test_training_shows_its_progress_in_the_log(first: Run) -> None:
    assert any("operators.steps.SynthTrainOperator" in line and "train" in line for line in first.output.splitlines())


def test_a_second_run_replaces_the_tables_of_the_first_and_has_a_workspace_of_its_own(airflow: Airflow, first: Run) -> None:
    before = airflow.target()
    again = airflow.run(seed=1, rows={"customers": CUSTOMERS // 2})
    assert again.exit_code == 0, again.output
    assert again.results["refresh.train"]["workspace"] != first.results["refresh.train"]["workspace"]
    after = airflow.target()
    assert after != before
    assert len(after[0]) == pytest.approx(CUSTOMERS // 2, rel=0.01)


def test_a_failed_validation_fails_its_task_at_once_and_leaves_the_target_as_it_was(airflow: Airflow, first: Run) -> None:
    before = airflow.target()
    many = {"customers": 50 * CUSTOMERS, "orders": 50 * ORDERS}  # of so many rows chance explains next to nothing
    strict = airflow.run(QUICK | {"validation": {"distribution_distance": 1e-12}}, seed=2, rows=many)
    assert strict.exit_code != 0
    assert strict.states["refresh.validate"] == "failed"
    assert strict.states["refresh.publish"] == "upstream_failed"
    assert re.search(r"(?s)AirflowFailException: .*(customers|orders)", strict.output)
    assert airflow.target() == before


def test_a_wrong_setting_fails_the_first_task_before_any_work_is_done(airflow: Airflow, first: Run) -> None:
    wrong = airflow.run({"training": {"epochs": 1}})
    assert wrong.exit_code != 0
    assert wrong.states["refresh.reflect"] == "failed"
    assert "training.epochs: there is no such setting" in wrong.output


def test_a_target_that_must_not_be_overwritten_fails_the_first_task(airflow: Airflow, first: Run) -> None:
    onto_itself = airflow.run(target_schema="shop")
    assert onto_itself.exit_code != 0
    assert onto_itself.states["refresh.reflect"] == "failed"
    assert onto_itself.states["refresh.extract"] == "upstream_failed"


def real_values(airflow: Airflow) -> list[str]:
    """Values that would give somebody away: every address, and the city of the one who lives there."""
    return [RARE_CITY, *(email for (email,) in airflow.query("SELECT email FROM shop.customers"))]


def test_no_real_value_and_no_password_is_told_outside_the_real_part_of_the_workspace(airflow: Airflow, first: Run) -> None:
    told = airflow.told()
    assert any(b"SynthTrainOperator" in content for content in told), "what was told must be what is searched"
    for secret in (PASSWORD, *real_values(airflow)):
        assert not [content[:80] for content in told if secret.encode() in content], secret


def test_no_real_value_is_in_the_synthetic_tables(airflow: Airflow, first: Run) -> None:
    published = {value for row in airflow.target()[0] for value in row}
    assert not published & set(real_values(airflow))


POSTGRES_SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.customers (customer_id integer PRIMARY KEY, city text NOT NULL, joined date NOT NULL);
CREATE TABLE shop.orders (
    order_id integer PRIMARY KEY, customer_id integer REFERENCES shop.customers (customer_id), amount numeric(10, 2) NOT NULL
);
INSERT INTO shop.customers
SELECT i, (ARRAY['Rome', 'Oslo', 'Lima'])[1 + i % 3], DATE '2020-01-01' + i * 3 FROM generate_series(1, 240) i;
INSERT INTO shop.orders
SELECT i, CASE WHEN i % 20 > 0 THEN 1 + (i * i) % 240 END, 5 + (i * 37 % 4000) / 100.0 FROM generate_series(1, 720) i;
"""


@pytest.mark.postgres
def test_the_same_dag_refreshes_a_postgres_schema_and_keeps_its_password_to_itself(tmp_path: Path, postgres_url: str) -> None:  # noqa: F811
    url = make_url(postgres_url)
    password = url.password or PASSWORD
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text(POSTGRES_SHOP))
    fields = {"host": url.host, "port": url.port, "login": url.username, "password": password, "schema": url.database}
    airflow = Airflow(tmp_path, {"conn_type": "postgres", **fields}).start()

    run = airflow.run()

    assert run.exit_code == 0, run.output
    with engine.connect() as connection:
        counts = connection.execute(text("SELECT (SELECT count(*) FROM synth.customers), (SELECT count(*) FROM synth.orders)")).one()
    engine.dispose()
    assert tuple(counts) == (pytest.approx(CUSTOMERS, rel=0.01), pytest.approx(ORDERS, rel=0.01))
    assert not [content[:80] for content in airflow.told() if password.encode() in content]
