"""The whole refresh as a task group, to be put into any DAG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import TaskGroup, chain

from airflow_provider_synth.operators.steps import (
    SynthExtractOperator,
    SynthGenerateOperator,
    SynthLoadOperator,
    SynthPublishOperator,
    SynthReflectOperator,
    SynthReportOperator,
    SynthTrainOperator,
    SynthValidateOperator,
)

RUN_FOLDER = "{{ dag.dag_id }}~{{ run_id | replace(':', '-') | replace('+', '-') | replace('/', '-') }}"
"""Template of a folder name for this run of this DAG: the same for every attempt, another one for the next run or
another DAG (no DAG's id holds a `~`), and without the characters of a run id that file systems and stores object to."""


def synth_refresh(
    *,
    source_conn_id: str,
    target_conn_id: str,
    workspace: str,
    source_schema: str | None = None,
    target_schema: str | None = None,
    rows: Mapping[str, int] | str | None = None,
    seed: int | str | None = None,
    config: Mapping[str, Any] | str | None = None,
    group_id: str = "synth_refresh",
) -> TaskGroup:
    """Reflect, extract, train, generate, load, validate, publish, report: eight tasks in a row, in a group.

    The parameters are those of the operators, and templates are rendered in all of them but `group_id`. `workspace`
    must differ from run to run: end it with `RUN_FOLDER`.

    Call it inside a DAG; the group it returns can be wired with other tasks.
    """
    settings: dict[str, Any] = {
        "workspace": workspace,
        "source_schema": source_schema,
        "target_schema": target_schema,
        "rows": rows,
        "seed": seed,
        "config": config,
    }
    source = settings | {"source_conn_id": source_conn_id}
    target = settings | {"target_conn_id": target_conn_id}
    with TaskGroup(group_id=group_id, tooltip="Learn a schema and publish its synthetic twin") as group:
        chain(
            SynthReflectOperator(task_id="reflect", target_conn_id=target_conn_id, **source),
            SynthExtractOperator(task_id="extract", **source),
            SynthTrainOperator(task_id="train", **settings),
            SynthGenerateOperator(task_id="generate", **settings),
            SynthLoadOperator(task_id="load", **target),
            SynthValidateOperator(task_id="validate", **target),
            SynthPublishOperator(task_id="publish", **target),
            SynthReportOperator(task_id="report", **settings),
        )
    return group
