"""The steps of a run as commands: `synth run` does all of them, `synth reflect … report` one each.

Nothing heavy is imported before a command runs, so that `synth --help` answers at once. What goes wrong is told as advice
on stderr, and by type in the exit code: 2 configuration or source data, 3 failed validation, 4 warehouse, 1 anything nobody expected.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from synth_engine.errors import ConfigurationError, SynthError

if TYPE_CHECKING:
    from synth_engine.config import Config
    from synth_engine.warehouse.base import Warehouse
    from synth_engine.workspace import Workspace

Command = TypeVar("Command", bound=Callable[..., None])

DEFAULT_WORKSPACE = "synth-workspace"

PLACE = "a SQLAlchemy URL, or a folder of CSV or Parquet files"

OPTIONS: dict[str, Callable[[Command], Command]] = {
    "source": click.option("--source", help=f"Where the real tables are: {PLACE}."),
    "source_schema": click.option("--source-schema", metavar="NAME", help="Schema of the source; its default schema if not given."),
    "target": click.option("--target", help=f"Where the synthetic tables go: {PLACE}."),
    "target_schema": click.option("--target-schema", metavar="NAME", help="Schema of the target; its default schema if not given."),
    "schema_file": click.option(
        "--schema",
        "schema_file",
        metavar="FILE",
        multiple=True,
        help="Keys and kinds: YAML, SDV metadata, or a dbt manifest; can be repeated.",
    ),
    "infer_keys": click.option("--infer-keys", is_flag=True, default=None, help="Use keys that nobody declared but the data gives away."),
    "config": click.option("--config", metavar="FILE", help="YAML file of settings; options given here win over it."),
    "workspace": click.option(
        "--workspace", metavar="URI", default=DEFAULT_WORKSPACE, show_default=True, help="Folder or bucket prefix that holds the run."
    ),
    "rows": click.option("--rows", metavar="TABLE=N", multiple=True, help="Number of rows to write of a table; can be repeated."),
    "key_start": click.option(
        "--key-start", metavar="TABLE=N", multiple=True, help="First number of the keys of a table; can be repeated."
    ),
    "seed": click.option("--seed", type=int, metavar="N", help="Seed of everything that is drawn at random."),
}


BY_TABLE = ("rows", "key_start")
"""Options that are written TABLE=N."""


def options(*names: str) -> Callable[[Command], Command]:
    """Give a command these options, and the two that all commands have."""

    def decorate(command: Command) -> Command:
        for name in reversed((*names, "config", "workspace")):
            command = OPTIONS[name](command)
        return command

    return decorate


class StepsInOrder(click.Group):
    """A group whose help lists commands in the order of the flow, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=StepsInOrder, context_settings={"max_content_width": 110})
def app() -> None:
    """Learn a relational schema in a warehouse and write back a synthetic twin of it."""


@app.command()
@options("source", "target", "source_schema", "target_schema", "schema_file", "infer_keys", "rows", "key_start", "seed")
def run(config: str | None, workspace: str, **given: Any) -> None:
    """Do all steps; what is done in the workspace with the same settings is not done again."""
    settings = _settings(config, given)
    _require(settings, "source", "target")
    from synth_engine import pipeline, terminal

    place = _workspace(workspace)
    with ExitStack() as stack:
        source = _open(settings.source, stack)
        # One file or server is opened once: an embedded database refuses a second, different connection.
        target = source if settings.target == settings.source else _open(settings.target, stack)
        with terminal.progress() as listener:
            manifests = pipeline.run(settings, place, source, target, listener)
    terminal.show_run(manifests, place.uri, place.finished_now)


@app.command()
@options("source", "source_schema", "schema_file", "infer_keys")
def reflect(config: str | None, workspace: str, **given: Any) -> None:
    """Find tables, columns, kinds and keys of the source, and show what will happen to them."""
    settings = _settings(config, given)
    _require(settings, "source")
    from synth_engine import pipeline, terminal
    from synth_engine.schema import Schema

    place = _workspace(workspace)
    with ExitStack() as stack:
        manifest = pipeline.reflect(settings, place, _open(settings.source, stack))
    terminal.show_schema(Schema.from_dict(place.read_json(place.schema)))
    terminal.show_inferred(manifest)
    terminal.show_step(manifest, place.finished_now)


@app.command()
@options("source", "source_schema")
def extract(config: str | None, workspace: str, **given: Any) -> None:
    """Copy the real tables into the workspace, all as they were at one point in time."""
    settings = _settings(config, given)
    _require(settings, "source")
    from synth_engine import pipeline, terminal

    place = _workspace(workspace)
    with ExitStack() as stack:
        source = _open(settings.source, stack)
        listener = stack.enter_context(terminal.progress())
        manifest = pipeline.extract(settings, place, source, listener)
    terminal.show_step(manifest, place.finished_now)


@app.command()
@options("seed")
def train(config: str | None, workspace: str, **given: Any) -> None:
    """Learn the extracted tables."""
    settings = _settings(config, given)
    from synth_engine import pipeline, terminal

    place = _workspace(workspace)
    with terminal.progress() as listener:
        manifest = pipeline.train(settings, place, listener)
    terminal.show_step(manifest, place.finished_now)


@app.command()
@options("rows", "key_start", "seed")
def generate(config: str | None, workspace: str, **given: Any) -> None:
    """Write synthetic tables into the workspace."""
    settings = _settings(config, given)
    from synth_engine import pipeline, terminal

    place = _workspace(workspace)
    with terminal.progress() as listener:
        manifest = pipeline.generate(settings, place, listener)
    terminal.show_step(manifest, place.finished_now)


@app.command()
@options("target", "target_schema")
def load(config: str | None, workspace: str, **given: Any) -> None:
    """Load the synthetic tables into a staging area of the target."""
    settings = _settings(config, given)
    _require(settings, "target")
    from synth_engine import pipeline, terminal

    place = _workspace(workspace)
    with ExitStack() as stack:
        target = _open(settings.target, stack)
        listener = stack.enter_context(terminal.progress())
        manifest = pipeline.load(settings, place, target, listener)
    terminal.show_step(manifest, place.finished_now)


@app.command()
@options("target", "target_schema")
def validate(config: str | None, workspace: str, **given: Any) -> None:
    """Check keys, types, ranges and distributions of the staged tables."""
    settings = _settings(config, given)
    _require(settings, "target")
    from synth_engine import pipeline, terminal

    place = _workspace(workspace)
    with ExitStack() as stack:
        manifest = pipeline.validate(settings, place, _open(settings.target, stack))
    terminal.show_step(manifest, place.finished_now)


@app.command()
@options("target", "target_schema")
def publish(config: str | None, workspace: str, **given: Any) -> None:
    """Make the staged tables the target's, all at once."""
    settings = _settings(config, given)
    _require(settings, "target")
    from synth_engine import pipeline, terminal

    place = _workspace(workspace)
    with ExitStack() as stack:
        manifest = pipeline.publish(settings, place, _open(settings.target, stack))
    terminal.show_step(manifest, place.finished_now)


@app.command()
@options()
def report(config: str | None, workspace: str) -> None:
    """Score the synthetic tables and write the report."""
    settings = _settings(config, {})
    from synth_engine import pipeline, terminal

    place = _workspace(workspace)
    with terminal.progress() as listener:
        manifest = pipeline.report(settings, place, listener)
    terminal.show_step(manifest, place.finished_now)
    terminal.show_report(manifest, place.uri)


def main() -> None:
    """Run the command line; errors become advice on stderr and an exit code."""
    try:
        sys.exit(_command())
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        _complain(error.format_message())
        sys.exit(error.exit_code)
    except SynthError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - whatever nobody expected is shown whole, but for passwords
        _complain(traceback.format_exc())
        sys.exit(1)


def entry() -> None:
    """The installed command: `main`, then out at once."""
    try:
        main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        # DuckDB lists objects that are alive when the interpreter is torn down, pages of them, as leaks; skip the tearing down
        os._exit(end.code if isinstance(end.code, int) else 0)


def _command() -> Any:
    """Do the command and return its exit code. Of several processes that `torchrun` started the first does it, the others train along."""
    command = partial(app.main, prog_name="synth", standalone_mode=False)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return command()
    from synth_engine.model.following import together

    return together(command)


# -- what the commands share -------------------------------------------------------------------------------------------


def _settings(config: str | None, given: dict[str, Any]) -> Config:
    """The settings of the file, with the options that were given on top."""
    from synth_engine.config import Config, read_settings

    layer = {name: value for name, value in given.items() if value not in (None, ())}
    faults = [
        f"--{name.replace('_', '-')}: must be written TABLE=N. Found: {entry!r}"
        for name in BY_TABLE
        for entry in layer.get(name, ())
        if "=" not in entry
    ]
    if faults:
        raise ConfigurationError(faults)
    for name in BY_TABLE:
        if name in layer:
            layer[name] = _by_table(layer[name])
    return Config.build(read_settings(config) if config else {}, layer)


def _by_table(written: tuple[str, ...]) -> dict[str, str]:
    """`TABLE=N` as settings; the numbers themselves are checked with all other settings."""
    return {table: number for table, _, number in (entry.rpartition("=") for entry in written)}


def _require(settings: Config, *names: str) -> None:
    faults = [
        SynthError(f"{name}: must be given", advice=f"add --{name} with {PLACE}, or '{name}' to the file of --config")
        for name in names
        if not getattr(settings, name)
    ]
    if faults:
        raise ConfigurationError(faults)


def _workspace(uri: str) -> Workspace:
    from synth_engine.workspace import Workspace

    return Workspace(uri)


def _open(place: str | None, stack: ExitStack) -> Warehouse:
    """The warehouse at a place that `_require` has seen, closed when the stack is."""
    from synth_engine.warehouse import open_warehouse

    assert place is not None
    warehouse = open_warehouse(place)
    stack.callback(warehouse.close)
    return warehouse


def _complain(text: str) -> None:
    from synth_engine.terminal import without_passwords

    print(without_passwords(text.rstrip()), file=sys.stderr)
