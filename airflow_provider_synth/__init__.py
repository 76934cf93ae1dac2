"""Apache Airflow reaches the synthesis engine from here: a hook, one operator a step, and a task group of all of them.

Nothing is computed in this package, and the engine is imported only while a task runs, so that discovering the
provider or parsing a DAG stays cheap. The names below load their modules when they are first used.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_synth.hooks.warehouse import SynthWarehouseHook
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
    from airflow_provider_synth.task_group import RUN_FOLDER, synth_refresh

__all__ = [
    "RUN_FOLDER",
    "SynthExtractOperator",
    "SynthGenerateOperator",
    "SynthLoadOperator",
    "SynthPublishOperator",
    "SynthReflectOperator",
    "SynthReportOperator",
    "SynthTrainOperator",
    "SynthValidateOperator",
    "SynthWarehouseHook",
    "synth_refresh",
]

_HOMES = {
    "SynthWarehouseHook": "airflow_provider_synth.hooks.warehouse",
    "RUN_FOLDER": "airflow_provider_synth.task_group",
    "synth_refresh": "airflow_provider_synth.task_group",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("airflow-provider-synth")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "airflow_provider_synth.operators.steps")), name)
