"""The product on one page: reflect -> extract -> train -> generate -> load -> validate -> publish -> report.

Each step is a function of the settings and of what the steps before it left in the workspace. It writes its files,
then its manifest; a step whose manifest is there, was made with the same settings and read the manifests that are
there now is not done again. One process at a time works in a workspace. Heavy libraries are imported by the step that needs them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError, SchemaMismatch, ValidationFailed
from synth_engine.progress import Advance, Listener, Progress, ignore, per_second
from synth_engine.schema import Schema
from synth_engine.schema.checks import check_settings, require_memory
from synth_engine.schema.kept import with_kept_tables
from synth_engine.schema.sources import apply_schema_sources
from synth_engine.workspace import FileEntry, Manifest, Workspace, versions

if TYPE_CHECKING:
    import pyarrow as pa

    from synth_engine.warehouse.base import Warehouse

Further = ParamSpec("Further")
Left = TypeVar("Left")


def _alone(step: Callable[Concatenate[Config, Workspace, Further], Left]) -> Callable[Concatenate[Config, Workspace, Further], Left]:
    """The step, refused while another process works in its workspace."""

    @wraps(step)
    def step_alone(config: Config, workspace: Workspace, /, *args: Further.args, **kwargs: Further.kwargs) -> Left:
        with workspace.alone():
            return step(config, workspace, *args, **kwargs)

    return step_alone


@_alone
def run(config: Config, workspace: Workspace, source: Warehouse, target: Warehouse, listener: Listener = ignore) -> dict[str, Manifest]:
    """All steps in order; an interrupted run goes on at the step that did not finish."""
    reflected = reflect(config, workspace, source)
    require_memory(_schema(workspace), config.rows)
    check_target(config, workspace, target)
    return {
        "reflect": reflected,
        "extract": extract(config, workspace, source, listener),
        "train": train(config, workspace, listener),
        "generate": generate(config, workspace, listener),
        "load": load(config, workspace, target, listener),
        "validate": validate(config, workspace, target),
        "publish": publish(config, workspace, target),
        "report": report(config, workspace, listener),
    }


def check_target(config: Config, workspace: Workspace, target: Warehouse) -> None:
    """Refuse, right after reflect and before any work is done, a target that is the source, holds somebody else's tables, or
    holds the workspace."""
    workspace.keep_out_of(target.location)
    source = workspace.require("reflect").facts["source"]
    target.check_target(
        config.target_schema,
        _schema(workspace),
        source=(source["location"], source["schema"]),
        replace_foreign_tables=config.publication.replace_foreign_tables,
    )


@_alone
def reflect(config: Config, workspace: Workspace, source: Warehouse) -> Manifest:
    """Find tables, columns, kinds and keys; check the settings against them.

    Always looks at the source anew: raises `SchemaMismatch` if the workspace was made for another schema.
    """
    from synth_engine.statistics import refine_schema

    fields = ("source_schema", "schema_file", "infer_keys", "tables", "columns")
    step = _Step("reflect", config, workspace, (), {"source": source.location}, fields)
    schema, kinds = apply_schema_sources(_reflected(config, source), config.schema_file, config.source_schema)
    schema = check_settings(schema, config)
    kinds |= {(t, c) for t, found in config.columns.items() for c, s in found.items() if s.kind}
    with source.snapshot(config.source_schema) as snapshot:
        schema, inferred = refine_schema(schema, snapshot.read, kinds, with_keys=config.infer_keys, kept=config.keep)
    schema = with_kept_tables(schema, config.keep)
    before = workspace.manifest("reflect")
    if before is not None and before.fingerprint != schema.fingerprint() and workspace.manifest("extract") is not None:
        raise SchemaMismatch(
            "A workspace belongs to one schema",
            value=f"{workspace.uri} was made for fingerprint {before.fingerprint[:12]}, the source has {schema.fingerprint()[:12]}",
            advice="use a new workspace: the source's tables, types or keys have changed, or the settings name another source",
        )
    content = schema.to_dict()
    if (
        before is not None
        and before.config_hash == step.config_hash
        and workspace.exists(workspace.schema)
        and workspace.read_json(workspace.schema) == content
    ):
        return before
    workspace.write_json(workspace.schema, content)
    notes = {name: list(table.notes) for name, table in schema.tables.items() if table.notes}
    # two workspaces may bear the same name on two machines; their staging areas must not
    facts = {"tables": len(schema.tables), "notes": notes, "workspace_id": uuid.uuid4().hex}
    if config.infer_keys:
        facts["inferred_keys"] = [key.to_dict() for key in inferred]
    return step.finish([workspace.describe(workspace.schema)], facts, schema.fingerprint())


@_alone
def extract(config: Config, workspace: Workspace, source: Warehouse, listener: Listener = ignore) -> Manifest:
    """Copy all tables as they were at one point in time into Parquet; find and treat rows that break the source's keys.

    Raises `SourceDataError` with counts if there are any and the policy is to fail, and `ConfigurationError` for kinds
    that the values of a column do not bear out.
    """
    step = _Step("extract", config, workspace, ("reflect",), {"source": source.location}, ("policy", "privacy"))
    if (done := step.current()) is not None:
        return done
    from synth_engine.encode.written import with_written_moments
    from synth_engine.quality.profile import profile
    from synth_engine.snapshot import mend_keys, read_batches, write_table

    schema = _schema(workspace)
    with source.snapshot(config.source_schema) as snapshot:
        for number, (name, table) in enumerate(schema.tables.items(), 1):
            began = time.monotonic()
            _, rows = write_table(workspace, workspace.snapshot(name), table, snapshot.read(table))
            speed = round(per_second(rows, began))
            listener(Progress("extract", name, number, len(schema.tables), "tables", facts={"rows": rows, "rows/s": speed}))
        identifier = snapshot.identifier
    faults = mend_keys(workspace, schema, config.policy)
    with_written_moments(schema, lambda name, columns: read_batches(workspace, workspace.snapshot(name), columns))  # refuses, or nothing
    batches = {name: partial(read_batches, workspace, workspace.snapshot(name)) for name in schema.tables}
    workspace.write_json(workspace.profile, profile(schema, batches, config.privacy, seed=config.seed).to_dict())
    files = [entry for name in schema.tables for entry in _table_files(workspace, workspace.snapshot(name))]
    rows_of = {name: _rows(files, workspace.snapshot(name)) for name in schema.tables}
    facts = {"rows": rows_of, "snapshot": identifier, "key_faults": [str(fault) for fault in faults]}
    reproduced = [fault for fault in faults if fault.kind == "orphans" and config.policy.orphans == "reproduce"]
    facts["orphans"] = {fault.key: fault.rows / rows_of[fault.table] for fault in reproduced}
    return step.finish([*files, workspace.describe(workspace.profile)], facts)


@_alone
def train(config: Config, workspace: Workspace, listener: Listener = ignore) -> Manifest:
    """Learn the snapshot."""
    fields = ("training", "privacy", "keep", "structure", "seed")
    step = _Step("train", config, workspace, ("reflect", "extract"), {}, fields)
    if (done := step.current()) is not None:
        return done
    from synth_engine.model.artefacts import write_model
    from synth_engine.model.learning import learn
    from synth_engine.snapshot import read_table

    workspace.verify(workspace.require("extract"))
    schema = _twin_schema(config, workspace)
    model = learn(schema, {n: read_table(workspace, workspace.snapshot(n), t) for n, t in schema.tables.items()}, config, listener)
    workspace.clear(workspace.model)
    write_model(model, workspace)
    protects = config.privacy.rare_category_entities > 1
    facts = {
        "tables": model.facts(),
        "protected": model.protections(),
        "entities": model.entities(),
        "rules": model.rules(),
        "lookups": [name for name in model.lookups() if name not in config.privacy.entity_tables] if protects else [],
        "reproducible": not model.cut_short,
    }
    facts |= {"kept": list(model.kept), "structure": model.structure, "entity_tables": list(config.privacy.entity_tables)}
    return step.finish(workspace.describe_folder(workspace.model), facts)


@_alone
def generate(config: Config, workspace: Workspace, listener: Listener = ignore) -> Manifest:
    """Write synthetic tables as Parquet, all of one schema: keys join by construction. Tables to keep come from the snapshot."""
    step = _Step("generate", config, workspace, ("train",), {}, ("rows", "keep", "structure", "links", "seed", "key_start"))
    if (done := step.current()) is not None:
        return done
    from synth_engine.model.artefacts import read_model
    from synth_engine.model.generation import Generation
    from synth_engine.snapshot import read_table, write_table

    trained = workspace.require("train")
    workspace.verify(trained)
    model = read_model(workspace)
    _same_fingerprint(model.twin, _schema(workspace))
    _same_purpose(trained, config)
    if model.kept:
        workspace.verify(workspace.require("extract"))
    kept = {name: read_table(workspace, workspace.snapshot(name), model.twin.tables[name]) for name in model.kept}
    generation = Generation(
        model,
        config.rows,
        config.seed,
        config.training.device,
        listener,
        key_start=config.key_start,
        kept=kept,
        temperature=config.links.temperature,
    ).run()
    files: list[FileEntry] = []
    for name in model.tables:
        written, _ = write_table(
            workspace, workspace.synthetic(name), model.twin.tables[name], generation.batches(name, config.generation_batch_rows)
        )
        files += written
    rows = {name: _rows(files, workspace.synthetic(name)) for name in model.tables}
    return step.finish(files, {"rows": rows, "changed": model.changes(generation.counts)})


@_alone
def load(config: Config, workspace: Workspace, target: Warehouse, listener: Listener = ignore) -> Manifest:
    """Write the synthetic tables into a staging area beside the target.

    Until they are published this is done anew each time: nothing tells whether the staging area is still there.
    """
    # the bounds of the validation count: publishing takes the staging area away, and other bounds need it again
    step = _Step("load", config, workspace, ("generate",), {"target": target.location}, ("target_schema", "validation"))
    if (done := step.current()) is not None and _is_published(config, workspace, target, done):
        return done
    from synth_engine.snapshot import read_batches

    workspace.verify(workspace.require("generate"))
    schema, staging = _declarable(config, workspace), _staging(config, workspace)
    target.create_staging(staging, schema)
    rows, expected = {}, workspace.require("generate").facts["rows"]
    for name in schema.parents_first():
        batches = read_batches(workspace, workspace.synthetic(name))
        rows[name] = target.load(staging, schema.tables[name], _counted(batches, Advance("load", name, listener), expected[name]))
    return step.finish([], {"rows": rows, "staging": staging})


@_alone
def validate(config: Config, workspace: Workspace, target: Warehouse) -> Manifest:
    """Check the staged tables with Great Expectations. Raises `ValidationFailed` naming table, expectation and count."""
    step = _Step("validate", config, workspace, ("extract", "train", "load"), {"target": target.location}, ("validation",))
    if (done := step.current()) is not None:
        return done
    from synth_engine.quality.profile import Profile
    from synth_engine.quality.validation import validate_staged

    schema, staging = _twin_schema(config, workspace), workspace.require("load").facts["staging"]
    allowed, kept = workspace.read_json(workspace.categories), workspace.require("train").facts["kept"]
    known = Profile.from_dict(workspace.read_json(workspace.profile)).showing_only(allowed).without(kept)
    rows = workspace.require("generate").facts["rows"]
    workspace.clear(workspace.validation)
    # Great Expectations writes to local disks only; a workspace may be a bucket
    with TemporaryDirectory() as docs:
        with target.validation_engine(staging) as engine:
            outcome = validate_staged(engine, staging, schema, known, rows, config.validation, docs)
        for file in sorted(path for path in Path(docs).rglob("*") if path.is_file()):
            workspace.write_bytes(f"{workspace.validation}/{file.relative_to(docs).as_posix()}", file.read_bytes())
    if not outcome.passed:
        raise ValidationFailed(
            "The staged tables must meet every expectation before they are published",
            value="; ".join(str(failure) for failure in outcome.failures),
            advice=f"the target was left as it was; look at the tables in {staging}, at {workspace.validation}, or set validation bounds",
        )
    return step.finish(workspace.describe_folder(workspace.validation), outcome.to_dict())


@_alone
def publish(config: Config, workspace: Workspace, target: Warehouse) -> Manifest:
    """Make the staged tables the target's, all at once. Done again if somebody has dropped one of them since."""
    step = _publication(config, workspace, target)
    if (done := _published(step, config, workspace, target)) is not None:
        return done
    check_target(config, workspace, target)
    schema, settings = _declarable(config, workspace), config.publication
    target.publish(
        workspace.require("load").facts["staging"],
        config.target_schema,
        schema,
        replace_foreign_tables=settings.replace_foreign_tables,
        lock_timeout_seconds=settings.lock_timeout_seconds,
    )
    return step.finish([], {"tables": len(schema.tables)})


@_alone
def report(config: Config, workspace: Workspace, listener: Listener = ignore) -> Manifest:
    """Score the synthetic tables against the snapshot and write one self-contained page."""
    step = _Step("report", config, workspace, ("extract", "train", "generate", "validate"), {}, ())
    if (done := step.current()) is not None:
        return done
    from synth_engine.assessment import assess

    facts = assess(workspace, _twin_schema(config, workspace), config.seed, listener)
    return step.finish([workspace.describe(workspace.report), workspace.describe(workspace.scores)], facts)


# -- shared by the steps -----------------------------------------------------------------------------------------------


class _Step:
    """What makes a step current: the settings it depends on, and the manifests it read."""

    def __init__(
        self, name: str, config: Config, workspace: Workspace, inputs: Iterable[str], places: dict[str, str], fields: tuple[str, ...]
    ) -> None:
        self.name, self.config, self.workspace, self.places = name, config, workspace, places
        self.inputs = {step: workspace.require(step).digest() for step in inputs}
        self.config_hash = config.digest(places, *fields)
        self.began = time.monotonic()

    def current(self) -> Manifest | None:
        """The manifest of an earlier run of this very step, if nothing it depends on has changed since."""
        found = self.workspace.manifest(self.name)
        same = found is not None and found.config_hash == self.config_hash and found.inputs == self.inputs
        return found if same else None

    def finish(self, files: Iterable[FileEntry], facts: dict[str, Any], fingerprint: str | None = None) -> Manifest:
        """Write the manifest: the step has happened."""
        times = {"seconds": round(time.monotonic() - self.began, 2), "finished": datetime.now(UTC).isoformat(timespec="seconds")}
        places = {name: {"location": place, "schema": getattr(self.config, f"{name}_schema")} for name, place in self.places.items()}
        return self.workspace.finish(
            Manifest(
                step=self.name,
                config_hash=self.config_hash,
                fingerprint=fingerprint or _schema(self.workspace).fingerprint(),
                seed=self.config.seed,
                inputs=self.inputs,
                files=tuple(files),
                facts={**facts, **places, **times},
                versions=versions(),
            )
        )


def _schema(workspace: Workspace) -> Schema:
    workspace.require("reflect")
    return Schema.from_dict(workspace.read_json(workspace.schema))


def _twin_schema(config: Config, workspace: Workspace) -> Schema:
    """The schema with the share of orphans that each key is to have; a kept table's references to what is synthesised are null."""
    schema, shares = _schema(workspace), dict(workspace.require("extract").facts["orphans"])
    for name in config.keep:
        shares |= {k.label(name): 0.0 for k in schema.tables[name].foreign_keys if k.parent not in config.keep}
    return schema.with_orphans(shares)


def _declarable(config: Config, workspace: Workspace) -> Schema:
    """The schema as the target can declare it: without the keys that have orphans."""
    return _twin_schema(config, workspace).without_broken_keys()


def _reflected(config: Config, source: Warehouse) -> Schema:
    schema = source.reflect(config.source_schema, None)
    if not schema.tables:
        raise ConfigurationError(
            [
                f"The source schema must hold tables. Found: none in {config.source_schema or 'the default schema'} "
                f"of {source.location}. Next step: set source_schema"
            ]
        )
    return schema


def _same_fingerprint(trained: Schema, present: Schema) -> None:
    if trained.fingerprint() != present.fingerprint():
        raise SchemaMismatch(
            "A model serves the schema it was trained on", value="the workspace's schema has another fingerprint", advice="run train again"
        )


def _same_purpose(trained: Manifest, config: Config) -> None:
    """What is kept real, and whose graph the twin has, is settled in training: other settings now must not be passed over."""
    settings: dict[str, tuple[Any, Any]] = {
        "keep": (sorted(config.keep), sorted(trained.facts["kept"])),
        "structure": (config.structure, trained.facts["structure"]),
    }
    faults = [
        f"{name}: must be as it was when the model was trained. Found: {now}, not {then}. Next step: set it so, or run train again"
        for name, (now, then) in settings.items()
        if now != then
    ]
    if faults:
        raise ConfigurationError(faults)


def _table_files(workspace: Workspace, folder: str) -> list[FileEntry]:
    from synth_engine.snapshot import part_rows

    return [workspace.describe(path, part_rows(workspace, path)) for path in workspace.parts(folder)]


def _rows(files: Iterable[FileEntry], folder: str) -> int:
    return sum(entry.rows or 0 for entry in files if entry.path.startswith(folder + "/"))


def _counted(batches: Iterable[pa.RecordBatch], advance: Advance, total: int) -> Iterator[pa.RecordBatch]:
    """The batches, each told of once it has been taken."""
    for batch in batches:
        yield batch
        advance(batch.num_rows, total)


def _publication(config: Config, workspace: Workspace, target: Warehouse) -> _Step:
    return _Step("publish", config, workspace, ("reflect", "validate"), {"target": target.location}, ("publication", "target_schema"))


def _is_published(config: Config, workspace: Workspace, target: Warehouse, loaded: Manifest) -> bool:
    """Whether the staging area that `loaded` tells of was validated and published, so that it is needed no more."""
    validated = workspace.manifest("validate")
    if validated is None or validated.inputs["load"] != loaded.digest():
        return False
    return _published(_publication(config, workspace, target), config, workspace, target) is not None


def _published(step: _Step, config: Config, workspace: Workspace, target: Warehouse) -> Manifest | None:
    """The manifest of the publication, if it is current and no table of it is gone. A later publication may have
    replaced them: an old run that is done again must not bring its tables back."""
    done = step.current()
    return done if done is not None and target.has_tables(config.target_schema, _declarable(config, workspace)) else None


def _staging(config: Config, workspace: Workspace) -> str:
    from synth_engine.warehouse.base import staging_name

    return staging_name(config.target_schema, workspace.require("reflect").facts["workspace_id"])
