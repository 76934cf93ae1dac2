"""What a finished run has to say, read from the manifests it left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from synth_engine.quality.scores import SCORES
from synth_engine.workspace import STEPS, Workspace


def print_summary(workspace: Workspace, console: Console) -> None:
    """Rows, keys, scores, privacy and times as tables. Raises `Terminal` if the run has not finished."""
    facts = {step: workspace.require(step).facts for step in STEPS}
    console.print()
    console.print(_rows(facts["extract"]["rows"], facts["generate"]["rows"]))
    console.print(_scores(facts["report"]["summary"]))
    console.print(_privacy(facts["report"]["privacy"]))
    console.print(_times(facts))
    keys, expectations = facts["validate"]["keys_checked"], facts["validate"]["expectations"]
    console.print(f"{keys} keys and {expectations} expectations hold on the staged tables, which were published as they were.")
    console.print(f"Report: [bold]{workspace.full(facts['report']['path'])}[/]", soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _rows(real: Mapping[str, int], synthetic: Mapping[str, int]) -> Table:
    table = _table("Rows", "table", "real", "synthetic")
    for name, count in real.items():
        table.add_row(name, f"{count:,}", f"{synthetic[name]:,}")
    return table


def _scores(summary: Mapping[str, float | None]) -> Table:
    table = _table("Fidelity (1 is perfect)", "statistics of", "score")
    for name, (_, meaning) in SCORES.items():
        score = summary.get(name)
        table.add_row(meaning, "not defined" if score is None else f"{score:.3f}")
    return table


def _privacy(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("Privacy", "table", "verdict")
    for name, found in figures.items():
        verdict = str(found["verdict"])
        table.add_row(name, f"[green]{verdict}[/]" if verdict == "ok" else f"[bold red]{verdict}[/]")
    return table


def _times(facts: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("Times", "step", "seconds")
    for step, found in facts.items():
        table.add_row(step, f"{found['seconds']:.1f}")
    table.add_section()
    table.add_row("all", f"{sum(found['seconds'] for found in facts.values()):.1f}")
    return table
