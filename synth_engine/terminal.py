"""What the command line shows a person: progress, the schema found, what a step did, the result of a run."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table as Grid

from synth_engine.progress import Listener, Progress
from synth_engine.quality.scores import SCORES

if TYPE_CHECKING:
    from synth_engine.schema import Column, Schema, Table
    from synth_engine.workspace import Manifest

SECONDS_BETWEEN_LINES = 2.0
"""A log is told how a table gets on no more often than this; beginning and end are always told."""

FEW_ROWS = "of so few rows hardly a value is left; name in the setting keep what is no secret:"
"""Stands before the lookup tables that are protected like all others."""

WIDTH_OF_LOGS = 140
"""Characters a line may have where there is no terminal to ask."""

_USER_INFO = re.compile(r"(?<=://)([^\s/:@]*):[^\s]+@")
_SECRET_PARAMETER = re.compile(r"(?i)([?&;](?:password|passwd|pwd|token|secret|private_key)=)[^\s&;'\"]+")


def without_passwords(text: str) -> str:
    """The text with the password of every URL in it replaced by `***`."""
    return _SECRET_PARAMETER.sub(r"\1***", _USER_INFO.sub(r"\1:***@", text))


# -- progress ----------------------------------------------------------------------------------------------------------


@contextmanager
def progress() -> Iterator[Listener]:
    """A listener that draws bars on a terminal and writes plain lines to anything else, both on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(lambda text: print(text, file=console.file, flush=True))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
    with Bars(*columns, console=console) as bars:
        yield _bars(bars)


def _lines(write: Callable[[str], None]) -> Listener:
    told: dict[tuple[str, str | None], float] = {}

    def listen(sign: Progress) -> None:
        key, now = (sign.step, sign.table), time.monotonic()
        if sign.done >= sign.total or now - told.get(key, float("-inf")) >= SECONDS_BETWEEN_LINES:
            told[key] = now
            write(str(sign))

    return listen


def _bars(bars: Bars) -> Listener:
    tasks: dict[tuple[str, str | None], TaskID] = {}

    def listen(sign: Progress) -> None:
        key = (sign.step, sign.table)
        if key not in tasks:
            tasks[key] = bars.add_task(escape(" ".join(filter(None, key))), total=sign.total, facts="")
        facts = str(sign).partition(sign.unit)[2]
        bars.update(tasks[key], completed=sign.done, total=sign.total, facts=escape(f"{sign.unit}{facts}"))

    return listen


# -- results -----------------------------------------------------------------------------------------------------------


def show_schema(schema: Schema) -> None:
    """Tables with their columns, kinds and keys, whence each key is known, and what cannot be kept."""
    console = _console()
    for table in schema.tables.values():
        grid = _grid("column", "type", "kind", "null", "key", title=escape(table.name))
        for column in table.columns:
            grid.add_row(
                escape(column.name),
                escape(column.native_type or column.data_type),
                column.kind.value,
                "yes" if column.nullable else "no",
                escape(_keys_of(table, column)),
            )
        console.print(grid)
        for note in table.notes:
            console.print(f"  note: {escape(note)}")
        console.print()


def show_inferred(manifest: Manifest) -> None:
    """The keys that the data suggests, with evidence, and whether they are used."""
    keys = manifest.facts.get("inferred_keys", [])
    if not keys:
        return
    grid = _grid("key", "evidence", "taken", title="Keys inferred from the data")
    for key in keys:
        place = f"{key['table']} ({', '.join(key['columns'])})"
        target = f" -> {key['parent']} ({', '.join(key['parent_columns'])})" if key["parent"] else " primary key"
        grid.add_row(escape(place + target), escape(key["evidence"]), "yes" if key["taken"] else "no")
    console = _console()
    console.print(grid)
    if not all(key["taken"] for key in keys):
        console.print("Keys that were not taken can be written in a schema file.")


def show_step(manifest: Manifest, finished_now: Collection[str]) -> None:
    """One line for the step, which may have been done before, and one for each table it counted the rows of."""
    console = _console()
    if manifest.step in finished_now:
        console.print(f"{manifest.step}: done in {_seconds(manifest)}")
    else:
        console.print(f"{manifest.step}: nothing to do, it was done before, at {_finished([manifest])}, and nothing has changed since")
    for table, count in manifest.facts.get("rows", {}).items():
        console.print(f"  {escape(table)}: {count:,} rows")
    _show_training(console, manifest)
    for fault in manifest.facts.get("key_faults", []):
        console.print(f"  {escape(fault)}, treated as policy says")


def show_report(manifest: Manifest, workspace: str) -> None:
    """The scores, each 1 at best, and where the report is."""
    console = _console()
    summary: Mapping[str, Any] = manifest.facts.get("summary", {})
    scores = [f"{name.replace('_', '-')} {summary[name]:.3f}" for name in SCORES if summary.get(name) is not None]
    console.print(f"scores: {', '.join(scores) or 'none'}")
    console.print(f"report: {escape(workspace)}/{escape(manifest.facts['path'])}", soft_wrap=True)


def show_run(manifests: Mapping[str, Manifest], workspace: str, finished_now: Collection[str]) -> None:
    """Rows of every table real and synthetic, whom values are protected for, what was checked, the scores, the times, where the report
    is, and what of all this was done before."""
    console = _console()
    real, synthetic = (manifests[step].facts["rows"] for step in ("extract", "generate"))
    grid = _grid("table", title="Rows")
    grid.add_column("real", justify="right")
    grid.add_column("synthetic", justify="right")
    for table, count in real.items():
        grid.add_row(escape(table), f"{count:,}", f"{synthetic[table]:,}")
    console.print(grid)
    _show_training(console, manifests["train"])
    validation = manifests["validate"].facts
    console.print(f"validation: {'passed' if validation['passed'] else 'failed'}, {validation['expectations']} expectations")
    console.print(f"times: {', '.join(f'{step} {_seconds(manifest)}' for step, manifest in manifests.items())}", soft_wrap=True)
    show_report(manifests["report"], workspace)
    before = [manifest for step, manifest in manifests.items() if step not in finished_now]
    if len(before) == len(manifests):
        when = _finished(before)
        console.print(f"nothing to do: all {len(before)} steps were done before, at {when}; give each refresh a new workspace")
    elif before:
        console.print(f"done before and not repeated: {', '.join(manifest.step for manifest in before)}")


def _show_training(console: Console, train: Manifest) -> None:
    """Whom values are protected for, where that leaves hardly a value, and what holds in every row; other steps and earlier releases say
    nothing of it."""
    titles = (("values are protected for:", "entities"), (FEW_ROWS, "lookups"), ("kept to in every row:", "rules"))
    for title, name in titles:
        lines = train.facts.get(name, [])
        if lines:
            console.print(title)
        for line in lines:
            console.print(f"  {escape(line)}", soft_wrap=True)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_OF_LOGS)


def _grid(*columns: str, title: str) -> Grid:
    grid = Grid(title=title, title_justify="left")
    for name in columns:
        grid.add_column(name, overflow="fold")
    return grid


def _seconds(manifest: Manifest) -> str:
    return f"{manifest.facts['seconds']:.1f} s"


def _finished(manifests: Iterable[Manifest]) -> str:
    """When the last of them was."""
    return f"{max(datetime.fromisoformat(manifest.facts['finished']) for manifest in manifests):%Y-%m-%d %H:%M:%S} UTC"


def _keys_of(table: Table, column: Column) -> str:
    name = column.name
    facts = [f"primary key ({table.provenance(table.primary_key).value})"] if name in table.primary_key else []
    for unique in table.unique:
        others = ", ".join(other for other in unique if other != name)
        if name in unique:
            words = f"unique with {others}" if others else "unique"
            facts.append(f"{words} ({table.provenance(unique).value})")
    for key in table.foreign_keys:
        if name in key.columns:
            facts.append(f"to {key.parent}.{key.parent_columns[key.columns.index(name)]} ({key.provenance.value})")
    for reference in table.polymorphic:
        parents = ", ".join(f"{parent}.{column} ({of})" for of, parent, column in reference.parents)
        if name == reference.id_column:
            facts.append(f"to what {reference.type_column} says: {parents} ({reference.provenance.value})")
    return "; ".join(facts)
