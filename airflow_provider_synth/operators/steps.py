"""One operator a step, in the order of a run. Each calls the step of the engine and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_synth.hooks.warehouse import SynthWarehouseHook
from airflow_provider_synth.operators.base import SynthSourceOperator, SynthStepOperator, SynthTargetOperator
from airflow_provider_synth.progress import ProgressLog

if TYPE_CHECKING:
    from synth_engine.config import Config
    from synth_engine.workspace import Manifest, Workspace


class SynthReflectOperator(SynthSourceOperator):
    """Learn tables, types and keys from the catalogue of the source.

    :param target_conn_id: if given, a target that could not be published to in the end is refused now.
    """

    template_fields = (*SynthSourceOperator.template_fields, "target_conn_id")

    def __init__(self, *, target_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_conn_id = target_conn_id

    def run_step(self, config: Config, workspace: Workspace) -> Manifest:
        from synth_engine import pipeline

        with SynthWarehouseHook(self.source_conn_id).warehouse() as source:
            reflected = pipeline.reflect(config, workspace, source)
        if self.target_conn_id:
            with SynthWarehouseHook(self.target_conn_id).warehouse() as target:
                pipeline.check_target(config, workspace, target)
        return reflected


class SynthExtractOperator(SynthSourceOperator):
    """Copy the real tables into the workspace, all as they were at one point in time."""

    def run_step(self, config: Config, workspace: Workspace) -> Manifest:
        from synth_engine import pipeline

        with SynthWarehouseHook(self.source_conn_id).warehouse() as source:
            return pipeline.extract(config, workspace, source, ProgressLog(self.log.info))


class SynthTrainOperator(SynthStepOperator):
    """Train the model on the extracted tables."""

    def run_step(self, config: Config, workspace: Workspace) -> Manifest:
        from synth_engine import pipeline

        return pipeline.train(config, workspace, ProgressLog(self.log.info))


class SynthGenerateOperator(SynthStepOperator):
    """Write the synthetic tables into the workspace."""

    def run_step(self, config: Config, workspace: Workspace) -> Manifest:
        from synth_engine import pipeline

        return pipeline.generate(config, workspace, ProgressLog(self.log.info))


class SynthLoadOperator(SynthTargetOperator):
    """Load the synthetic tables into a staging area of the target."""

    def run_step(self, config: Config, workspace: Workspace) -> Manifest:
        from synth_engine import pipeline

        with SynthWarehouseHook(self.target_conn_id).warehouse() as target:
            return pipeline.load(config, workspace, target, ProgressLog(self.log.info))


class SynthValidateOperator(SynthTargetOperator):
    """Check the staged tables. A failed check fails the task and leaves the target as it was."""

    def run_step(self, config: Config, workspace: Workspace) -> Manifest:
        from synth_engine import pipeline

        with SynthWarehouseHook(self.target_conn_id).warehouse() as target:
            return pipeline.validate(config, workspace, target)


class SynthPublishOperator(SynthTargetOperator):
    """Make the staged tables the target's, in one transaction."""

    def run_step(self, config: Config, workspace: Workspace) -> Manifest:
        from synth_engine import pipeline

        with SynthWarehouseHook(self.target_conn_id).warehouse() as target:
            return pipeline.publish(config, workspace, target)


class SynthReportOperator(SynthStepOperator):
    """Score the synthetic tables against the real ones and write the report."""

    def run_step(self, config: Config, workspace: Workspace) -> Manifest:
        from synth_engine import pipeline

        return pipeline.report(config, workspace, ProgressLog(self.log.info))
