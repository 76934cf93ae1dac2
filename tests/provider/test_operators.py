"""Operators are thin: they render their settings, run one step, return small JSON, and speak Airflow's language of errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

import airflow_provider_synth
from airflow_provider_synth.operators.base import SynthStepOperator
from synth_engine.config import Config
from synth_engine.errors import ConfigurationError, Terminal, WarehouseUnavailable
from synth_engine.workspace import STEPS, Manifest, Workspace

CANARY = "jane.doe@example.org"

SETTINGS: dict[str, Any] = {
    "workspace": "{{ params.workspace }}/run",
    "source_schema": "{{ params.none or '' }}",
    "target_schema": "{{ params.target_schema }}",
    "rows": "{{ params.rows | tojson }}",
    "seed": "{{ params.seed }}",
    "config": {"training": {"max_epochs": "{{ params.epochs }}"}},
}
CONNECTIONS = {"source_conn_id": "{{ params.connection }}", "target_conn_id": "{{ params.connection }}"}
PARAMS = {
    "workspace": "memory://runs",
    "none": None,
    "target_schema": "synth",
    "rows": {"orders": 5},
    "seed": 7,
    "epochs": 3,
    "connection": "lake",
}


class StepThat(SynthStepOperator):
    """A step whose work is a function of the test's."""

    def __init__(self, *, does: Any, **kwargs: Any) -> None:
        super().__init__(task_id="step", **({"workspace": "memory://runs/1"} | kwargs))
        self.does = does

    def run_step(self, config: Config, workspace: Workspace) -> Manifest:
        return self.does(config, workspace)  # type: ignore[no-any-return]


def finished(**facts: Any) -> Manifest:
    return Manifest("train", config_hash="", fingerprint="", seed=0, facts=facts)


def operator_of(step: str) -> Any:
    return getattr(airflow_provider_synth, f"Synth{step.capitalize()}Operator")


def rendered(operator: Any) -> Any:
    operator.render_template_fields({"params": PARAMS})
    return operator


@pytest.mark.parametrize("step", STEPS)
def test_every_argument_of_every_operator_is_templated(step: str) -> None:
    kind = operator_of(step)
    connections = {name: value for name, value in CONNECTIONS.items() if name in kind.template_fields}
    operator = rendered(kind(task_id=step, **SETTINGS, **connections))
    assert operator.workspace == "memory://runs/run"
    assert all(getattr(operator, name) == "lake" for name in connections)
    config = operator.build_config()
    assert (config.source_schema, config.target_schema, config.rows, config.seed) == (None, "synth", {"orders": 5}, 7)
    assert config.training.max_epochs == 3


def test_steps_that_read_take_the_source_and_steps_that_write_the_target() -> None:
    taken = {step: [name for name in CONNECTIONS if name in operator_of(step).template_fields] for step in STEPS}
    assert taken == {
        "reflect": ["source_conn_id", "target_conn_id"],
        "extract": ["source_conn_id"],
        "train": [],
        "generate": [],
        "load": ["target_conn_id"],
        "validate": ["target_conn_id"],
        "publish": ["target_conn_id"],
        "report": [],
    }


def test_the_result_is_small_json_that_holds_only_known_figures() -> None:
    facts = {"seconds": 1.5, "rows": {"orders": 5}, "protected": [CANARY]}
    result = StepThat(does=lambda config, workspace: workspace.finish(finished(**facts))).execute({})
    assert result == {"workspace": "memory://runs/1", "step": "train", "seconds": 1.5, "rows": {"orders": 5}}
    assert CANARY not in json.dumps(result)


def test_the_log_tells_a_step_that_was_done_before_from_one_that_was_done_now(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = finished(seconds=1.5, finished="2026-11-21T09:30:00+00:00")
    StepThat(does=lambda config, workspace: workspace.finish(manifest)).execute({})
    assert "train finished in 1.5 s" in capsys.readouterr().out
    StepThat(does=lambda config, workspace: manifest).execute({})
    assert "train was done before, at 2026-11-21T09:30:00+00:00, and is not repeated" in capsys.readouterr().out


def test_an_error_that_a_retry_can_not_mend_fails_the_task_at_once() -> None:
    def refuse(config: Config, workspace: Workspace) -> Manifest:
        raise Terminal("A rule must hold", value="it does not", advice="mend it")

    with pytest.raises(AirflowFailException, match="A rule must hold. Found: it does not. Next step: mend it"):
        StepThat(does=refuse).execute({})


def test_an_error_that_may_pass_is_left_to_the_retries_of_airflow() -> None:
    def lose_connection(config: Config, workspace: Workspace) -> Manifest:
        raise WarehouseUnavailable("The warehouse must answer")

    with pytest.raises(WarehouseUnavailable):
        StepThat(does=lose_connection).execute({})


@pytest.mark.parametrize("kind", [Terminal, WarehouseUnavailable])
def test_what_a_driver_says_about_a_row_stays_out_of_the_error(kind: type[Terminal | WarehouseUnavailable]) -> None:
    def quote_a_row(config: Config, workspace: Workspace) -> Manifest:
        try:
            raise ValueError(f"Key (email)=({CANARY}) already exists")
        except ValueError as error:
            raise kind("Keys must be unique") from error

    with pytest.raises((AirflowFailException, WarehouseUnavailable)) as caught:
        StepThat(does=quote_a_row).execute({})
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_all_faults_of_the_settings_are_named_at_once() -> None:
    with pytest.raises(AirflowFailException, match=r"(?s)2 faults.*training\.epochs.*privacy\.extreme_value_entities"):
        StepThat(does=None, config={"training": {"epochs": 1}, "privacy": {"extreme_value_entities": 0}}).execute({})


def test_an_argument_wins_over_the_settings_only_if_it_was_given() -> None:
    settings = {"seed": 3, "source_schema": "shop", "rows": {"orders": 5}}
    kept = StepThat(does=None, config=settings, seed="", source_schema="", rows="{}").build_config()
    assert (kept.seed, kept.source_schema, kept.rows) == (3, "shop", {"orders": 5})
    given = StepThat(does=None, config=settings, seed=0, source_schema="lake", rows={"orders": 6}).build_config()
    assert (given.seed, given.source_schema, given.rows) == (0, "lake", {"orders": 6})


def test_a_url_in_the_settings_is_refused_and_not_repeated() -> None:
    operator = StepThat(does=None, config={"source": "postgresql://me:secret@db/shop"})
    with pytest.raises(AirflowFailException, match="set source_conn_id") as caught:
        operator.execute({})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["{'orders': 5}", "[5]"])
def test_settings_that_are_no_json_object_are_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="rows: must be a JSON object"):
        StepThat(does=None, rows=value).build_config()


def test_a_task_without_a_workspace_is_refused() -> None:
    with pytest.raises(AirflowFailException, match="set the workspace"):
        StepThat(does=None, workspace="").execute({})
