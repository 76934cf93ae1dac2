"""The DAG that comes with the provider can be scheduled as it is, and costs nothing to parse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from jinja2 import Environment

from airflow_provider_synth.task_group import RUN_FOLDER, synth_refresh
from synth_engine.workspace import STEPS

DAGS = Path(__file__).resolve().parents[2] / "dags"

PARSE = """
import json, sys
from airflow.sdk import DAG, BaseHook, BaseOperator, Param, TaskGroup, chain
before = set(sys.modules)
import airflow_provider_synth.get_provider_info
sys.path.insert(0, sys.argv[1])
import synth_refresh
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""
HEAVY = {"torch", "pandas", "numpy", "pyarrow", "lightgbm", "sklearn", "great_expectations", "duckdb", "pydantic", "fsspec", "synth_engine"}


@pytest.fixture(scope="module")
def dag() -> Any:
    bag = DagBag(DAGS)
    assert bag.import_errors == {}
    return bag.dags["synth_refresh"]


def test_parsing_the_dag_loads_neither_the_engine_nor_what_it_needs() -> None:
    found = subprocess.run([sys.executable, "-c", PARSE, str(DAGS)], capture_output=True, text=True, check=True, cwd=DAGS.parent)
    loaded = set(json.loads(found.stdout.splitlines()[-1]))
    assert "airflow_provider_synth" in loaded
    assert not HEAVY & loaded


def test_the_dag_runs_the_eight_steps_one_after_the_other(dag: Any) -> None:
    assert dag.task_ids == [f"refresh.{step}" for step in STEPS]
    for earlier, later in zip(STEPS, STEPS[1:], strict=False):
        assert dag.get_task(f"refresh.{earlier}").downstream_task_ids == {f"refresh.{later}"}


def test_two_runs_never_publish_at_the_same_time(dag: Any) -> None:
    assert dag.max_active_runs == 1
    assert not dag.catchup


def test_every_parameter_has_a_valid_default_and_says_what_it_is_for(dag: Any) -> None:
    dag.params.validate()
    assert set(dag.params) == {"source_conn_id", "target_conn_id", "source_schema", "target_schema", "workspace", "rows", "seed", "config"}
    assert all(dag.params.get_param(name).description for name in dag.params)


def test_a_run_of_a_dag_has_a_folder_of_its_own_without_characters_that_stores_object_to() -> None:
    folders = [
        Environment(autoescape=True).from_string(RUN_FOLDER).render(dag=DAG(dag_id=name), run_id="manual__2026-01-02T03:04:05.678+00:00")
        for name in ("nightly", "..")
    ]
    assert folders == ["nightly~manual__2026-01-02T03-04-05.678-00-00", "..~manual__2026-01-02T03-04-05.678-00-00"]


def test_the_task_group_can_stand_in_any_dag_several_times() -> None:
    with DAG(dag_id="nightly", schedule=None) as dag:
        for region in ("emea", "apac"):
            synth_refresh(group_id=region, source_conn_id=region, target_conn_id="lab", workspace=f"memory://{region}")
    assert sorted(dag.task_ids) == sorted(f"{region}.{step}" for region in ("emea", "apac") for step in STEPS)
    assert dag.get_task("apac.extract").source_conn_id == "apac"
    assert dag.get_task("apac.publish").target_conn_id == "lab"
