"""Results side by side: mean and deviation over the seeds, as a terminal table and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.variants import VARIANTS

SYSTEMS = {"ours": "this product", "mostly": "MOSTLY AI SDK", "sdv": "SDV HMA", "ceiling": "real, held out"}
CEILING = "ceiling"

FIGURES = {
    "faults": ("faults", 0),
    "rows": ("rows", 3),
    "shapes": ("shapes", 3),
    "pairs": ("pairs", 3),
    "cardinality": ("cardin.", 3),
    "parent_child": ("1 key", 3),
    "hops_2": ("2 keys", 3),
    "hops_3": ("3 keys", 3),
    "siblings": ("siblings", 3),
    "order": ("order", 3),
    "c2st": ("C2ST", 3),
    "c2st_children": ("C2ST +children", 3),
    "utility": ("utility", 3),
    "copies": ("copies", 4),
    "closer": ("closer", 3),
    "membership": ("member", 3),
    "train_seconds": ("train s", 0),
    "generate_seconds": ("gen. s", 0),
    "train_gb": ("train GB", 2),
    "generate_gb": ("gen. GB", 2),
}
"""Title and decimals of each figure, in order."""

PARTS = {
    "Fidelity": tuple(FIGURES)[:10],
    "Detection, use, privacy, cost": tuple(FIGURES)[10:],
}
PRIVACY = ("copies", "closer", "membership")


@dataclass(frozen=True)
class Result:
    """One system on one data set. `figures` holds a value a seed (only seeds that finished), `red` how many seeds had a
    figure of privacy above its limit; `notes` are messages of failures and what the system could not be told."""

    data: str
    system: str
    seeds: int
    figures: Mapping[str, Sequence[float]]
    red: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def finished(self) -> int:
        return max((len(values) for values in self.figures.values()), default=0)

    @property
    def title(self) -> str:
        name = title(self.system)
        return name if self.finished == self.seeds else f"{name} ({self.finished} of {self.seeds} seeds)"

    def is_red(self, figure: str) -> bool:
        """A figure of privacy is red if it is so in most seeds: of three, one may be by chance. A fault always is."""
        if figure == "faults":
            return any(self.figures.get(figure, ()))
        return 2 * self.red.get(figure, 0) > self.finished

    def cell(self, figure: str) -> str:
        values, (_, decimals) = self.figures.get(figure, ()), FIGURES[figure]
        if not values:
            return "–"
        mean = f"{fmean(values):,.{decimals}f}"
        return f"{mean} ±{stdev(values):,.{decimals}f}" if len(values) > 1 else mean


def title(system: str) -> str:
    """A system as readers know it; a variant by what it differs in."""
    variant = system.partition(":")[2]
    return VARIANTS[variant].says if variant else SYSTEMS.get(system, system)


def show(results: Sequence[Result], console: Console) -> None:
    """Print a table for each data set, a figure a line; figures that are red are so."""
    for data in _data_sets(results):
        of_data = [r for r in results if r.data == data]
        table = Table(title=data, title_justify="left")
        table.add_column("")
        for result in of_data:
            table.add_column(result.title, justify="right")
        for figures in PARTS.values():
            for figure in figures:
                cells = [f"[red]{r.cell(figure)}[/red]" if r.is_red(figure) else r.cell(figure) for r in of_data]
                table.add_row(FIGURES[figure][0], *cells, end_section=figure == figures[-1])
        console.print(table)
        for result in of_data:
            for note in result.notes:
                console.print(f"{title(result.system)}: {escape(note)}", style="dim", highlight=False)


def show_briefly(results: Sequence[Result], figures: Sequence[str], console: Console) -> None:
    """Print a table for each data set, a system a line: of many systems these figures only."""
    for data in _data_sets(results):
        table = Table("", *(FIGURES[figure][0] for figure in figures), title=data, title_justify="left")
        for result in (r for r in results if r.data == data):
            table.add_row(result.title, *(result.cell(figure) for figure in figures))
        console.print(table)


def markdown(results: Sequence[Result], caption: str) -> str:
    """The same as a page; figures that are red are bold."""
    lines = ["# Benchmark", "", caption]
    for data in _data_sets(results):
        of_data = [r for r in results if r.data == data]
        lines += ["", f"## {data}"]
        for part, figures in PARTS.items():
            lines += ["", f"### {part}", ""]
            lines += ["| system | " + " | ".join(FIGURES[f][0] for f in figures) + " |", "|---|" + "---:|" * len(figures)]
            for result in of_data:
                cells = [f"**{result.cell(f)}**" if result.is_red(f) else result.cell(f) for f in figures]
                lines.append(f"| {result.title} | " + " | ".join(cells) + " |")
        notes = [f"- {title(r.system)}: {note}" for r in of_data for note in r.notes]
        lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def _data_sets(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.data for result in results))
