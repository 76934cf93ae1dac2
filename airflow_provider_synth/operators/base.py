"""What the operators share: settings, the workspace, errors that Airflow understands, and the small result."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

# AirflowFailException moved between minor releases of Airflow 3; this address holds for all of them.
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from synth_engine.config import Config
    from synth_engine.workspace import Manifest, Workspace

XCOM_FACTS = ("seconds", "rows", "passed", "expectations", "keys_checked", "summary", "path")
"""The facts of a manifest that travel to the next task: counts, scores, times, and where the report lies."""

SETTINGS_OF_CONNECTIONS = ("source", "target")


class SynthStepOperator(BaseOperator):
    """One step of a run. All steps of a run are given the same settings and the same workspace.

    :param workspace: URI of the folder or bucket prefix that holds this run. It must be the same for all steps and
        for all attempts of a run, and another one for the next run.
    :param source_schema: schema of the real tables; the connection's default if empty.
    :param target_schema: schema the synthetic tables are published to; the connection's default if empty.
    :param rows: number of rows wanted of a table, by table name. A mapping, or its JSON when templated.
    :param seed: seed of all randomness.
    :param config: all settings, as in a configuration file; those above win over it. A mapping, or its JSON when templated.

    Returns (XCom) the URI of the workspace, the step and a handful of its numbers; never data.
    """

    template_fields: Sequence[str] = ("workspace", "source_schema", "target_schema", "rows", "seed", "config")
    template_fields_renderers: ClassVar[dict[str, str]] = {"rows": "json", "config": "json"}
    ui_color = "#d7ece6"

    def __init__(
        self,
        *,
        workspace: str,
        source_schema: str | None = None,
        target_schema: str | None = None,
        rows: Mapping[str, int] | str | None = None,
        seed: int | str | None = None,
        config: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workspace = workspace
        self.source_schema = source_schema
        self.target_schema = target_schema
        self.rows = rows
        self.seed = seed
        self.config = config

    @abstractmethod
    def run_step(self, config: Config, workspace: Workspace) -> Manifest:
        """Run the step of the engine."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step. A fault that a retry can not mend fails the task at once, whatever its `retries`."""
        with _errors_for_airflow():
            from synth_engine.workspace import Workspace

            workspace = Workspace(self._workspace_uri())
            manifest = self.run_step(self.build_config(), workspace)
        if manifest.step in workspace.finished_now:
            self.log.info("%s finished in %.1f s", manifest.step, manifest.facts["seconds"])
        else:
            self.log.info("%s was done before, at %s, and is not repeated", manifest.step, manifest.facts["finished"])
        figures = {name: manifest.facts[name] for name in XCOM_FACTS if name in manifest.facts}
        return {"workspace": self.workspace, "step": manifest.step, **figures}

    def build_config(self) -> Config:
        """The settings of this run. Raises `ConfigurationError` with all faults."""
        from synth_engine.config import Config
        from synth_engine.errors import ConfigurationError

        settings = _mapping("config", self.config)
        faults = [
            f"config.{name}: warehouses come from connections. Next step: remove it and set {name}_conn_id"
            for name in SETTINGS_OF_CONNECTIONS
            if name in settings
        ]
        if faults:
            raise ConfigurationError(faults)
        named = {"source_schema": self.source_schema, "target_schema": self.target_schema, "seed": self.seed}
        given = {name: value for name, value in named.items() if value not in (None, "")}
        return Config.build(settings, {"rows": _mapping("rows", self.rows)}, given)

    def _workspace_uri(self) -> str:
        from synth_engine.errors import ConfigurationError, Terminal

        if not self.workspace:
            rule = "workspace: a run needs a folder or bucket prefix of its own"
            raise ConfigurationError([Terminal(rule, advice="set the workspace of the task")])
        return self.workspace


class SynthSourceOperator(SynthStepOperator):
    """A step that reads the real tables.

    :param source_conn_id: connection of the warehouse that holds them.
    """

    template_fields = (*SynthStepOperator.template_fields, "source_conn_id")

    def __init__(self, *, source_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source_conn_id = source_conn_id


class SynthTargetOperator(SynthStepOperator):
    """A step that writes or reads the synthetic tables.

    :param target_conn_id: connection of the warehouse they go to; it may be the source's.
    """

    template_fields = (*SynthStepOperator.template_fields, "target_conn_id")

    def __init__(self, *, target_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_conn_id = target_conn_id


@contextmanager
def _errors_for_airflow() -> Iterator[None]:
    """Terminal errors fail the task at once, transient ones leave the retry to Airflow.

    Their causes stay out of the log: a driver's own message may quote a row ("Key (email)=(…) already exists").
    """
    from synth_engine.errors import Terminal, Transient

    try:
        yield
    except Terminal as error:
        raise AirflowFailException(str(error)) from None
    except Transient as error:
        raise error from None


def _mapping(name: str, value: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """A setting that was given as a mapping, or as its JSON by a template."""
    from synth_engine.errors import ConfigurationError, Terminal

    parsed: object = value or {}
    if isinstance(parsed, str):
        try:
            parsed = json.loads(parsed)
        except json.JSONDecodeError as error:
            found = f"{error.msg} at character {error.pos}"
            rule, advice = f"{name}: must be a JSON object", "render it with the filter `tojson`"
            raise ConfigurationError([Terminal(rule, value=found, advice=advice)]) from None
    if not isinstance(parsed, Mapping):
        raise ConfigurationError([Terminal(f"{name}: must be a JSON object", value=type(parsed).__name__, advice="give settings by name")])
    return dict(parsed)
