"""What a person sees of the demonstration: the steps, how far they are, why they failed, and a summary of figures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow_run import RunView
from rich.console import Console
from summary import print_summary

from synth_engine.errors import Terminal
from synth_engine.workspace import STEPS, Manifest, Workspace

OPERATOR = "airflow.task.operators.airflow_provider_synth.operators.steps.SynthTrainOperator"


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=120, force_terminal=False)


def shown(console: Console, *records: dict[str, Any] | str) -> tuple[RunView, str]:
    view = RunView(console)
    for record in records:
        view.show(record if isinstance(record, str) else json.dumps(record))
    return view, console.export_text()


def test_tasks_and_their_progress_are_shown(console: Console) -> None:
    started = {"level": "info", "event": "[DAG TEST] starting task_id=refresh.train map_index=-1", "logger": "airflow.sdk.definitions.dag"}
    _, text = shown(console, started, {"level": "info", "event": "train  flights  epoch 3/60", "logger": OPERATOR})
    assert [line.split(" s  ")[1].strip() for line in text.splitlines()] == ["train", "train  flights  epoch 3/60"]


def test_the_noise_of_airflow_is_left_to_the_log_file(console: Console) -> None:
    noise = {"level": "info", "event": "Task instance state updated", "logger": "airflow.api_fastapi"}
    _, text = shown(console, noise, "Run `pip install graphviz` to attempt to install it.", "3")
    assert text == ""


def test_a_failure_is_shown_with_its_reason_and_markup_in_it_is_only_text(console: Console) -> None:
    reason = {"exc_type": "AirflowFailException", "exc_value": "3 rows of [orders] have no parent"}
    view, text = shown(console, {"level": "error", "event": "Task failed", "logger": "task", "exception": [reason]})
    assert "AirflowFailException: 3 rows of [orders] have no parent" in text
    assert view.explained


FACTS: dict[str, dict[str, Any]] = {
    "extract": {"rows": {"flights": 56244}},
    "generate": {"rows": {"flights": 56240}},
    "validate": {"passed": True, "expectations": 61, "keys_checked": 12},
    "report": {
        "summary": {"shapes": 0.9512, "pairs": 0.91, "cardinality": 0.97, "parent_child": 0.9, "siblings": None},
        "privacy": {"flights": {"verdict": "ok"}, "planes": {"verdict": "warn"}},
        "path": "synthetic/report/index.html",
    },
}


def finish(workspace: Workspace, steps: tuple[str, ...]) -> Workspace:
    for step in steps:
        workspace.finish(Manifest(step, config_hash="", fingerprint="", seed=0, facts={"seconds": 2.0} | FACTS.get(step, {})))
    return workspace


def test_the_summary_gives_rows_keys_scores_privacy_times_and_the_report(console: Console, tmp_path: Any) -> None:
    print_summary(finish(Workspace(str(tmp_path)), STEPS), console)
    text = console.export_text().replace("\n", " ")
    for expected in ("56,244", "56,240", "0.951", "not defined", "warn", "12 keys and 61 expectations", "16.0"):
        assert expected in text
    assert f"{tmp_path}/synthetic/report/index.html" in text


def test_there_is_no_summary_of_a_run_that_did_not_finish(console: Console, tmp_path: Any) -> None:
    with pytest.raises(Terminal, match="'publish'"):
        print_summary(finish(Workspace(str(tmp_path)), STEPS[:6]), console)
