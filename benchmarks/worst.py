"""Look at it by eye: the ten columns and the ten pairs of columns in which a system does worst, beside the real ones.

    python -m benchmarks.worst [--data FOLDER ...] [--peer PEER] [--seed SEED] [--out FOLDER]

Draws what `benchmarks.compare` left under --out, as OUT/<data>/seed-<n>/<peer>/worst.html.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow.parquet as pq
from numpy.typing import NDArray
from plotly.subplots import make_subplots
from rich.console import Console

from benchmarks.compare import HOME, PEERS, read_data
from benchmarks.integrity import read_tables
from synth_engine.errors import SynthError, Terminal
from synth_engine.quality.contingency import Discretiser, bins_for
from synth_engine.quality.histograms import Histogram, distributions
from synth_engine.schema import Schema

WORST = 10
ACROSS = 5
"""Plots in a row."""

REAL, SYNTHETIC = "#8a8f98", "#1f6fb4"
Frames: TypeAlias = dict[str, pd.DataFrame]
Pair: TypeAlias = tuple[str, str, str, float]


def draw(schema: Schema, folder: Path) -> Path:
    """One page for a system whose tables and scores lie in `folder`. Raises `Terminal` if they do not."""
    scores = folder / "scores.json"
    if not scores.is_file():
        raise Terminal("There must be scores to draw", value=f"no {scores}", advice="run benchmarks.compare with the same --out first")
    tables = json.loads(scores.read_text(encoding="utf-8"))["found"]["fidelity"]["tables"]
    real = {name: pq.read_table(folder.parent / "real" / f"{name}.parquet").to_pandas() for name in schema.tables}
    synthetic = {name: table.to_pandas() for name, table in read_tables(schema, folder / "tables").tables.items()}
    columns = sorted((score, name, column) for name, table in tables.items() for column, score in table["shapes"].items())[:WORST]
    pairs = sorted(((name, a, b, score) for name, table in tables.items() for a, b, score in table["pairs"]), key=lambda p: p[3])[:WORST]
    figure = make_subplots(
        rows=(len(columns) + ACROSS - 1) // ACROSS + 2 * ((len(pairs) + ACROSS - 1) // ACROSS),
        cols=ACROSS,
        subplot_titles=[*_padded(f"{name}.{column}: {score:.3f}" for score, name, column in columns), *_pair_titles(pairs)],
        horizontal_spacing=0.03,
        vertical_spacing=0.06,
    )
    row = 1
    for place, (_, name, column) in enumerate(columns):
        found = next(h for h in distributions(schema, name, real[name], synthetic[name]) if h.title == column)
        row = 1 + place // ACROSS
        _bars(figure, found, row, 1 + place % ACROSS)
    for place, pair in enumerate(pairs):
        top = row + 1 + 2 * (place // ACROSS)
        for side, cells in enumerate(_cells(schema, pair, real, synthetic)):
            figure.add_trace(go.Heatmap(z=cells, coloraxis="coloraxis"), row=top + side, col=1 + place % ACROSS)
    figure.update_layout(height=260 * len(figure._grid_ref), template="plotly_white", showlegend=False, coloraxis={"colorscale": "Blues"})
    figure.update_annotations(font_size=11)
    path = folder / "worst.html"
    figure.write_html(path, include_plotlyjs=True)
    return path


def _padded(titles: Iterator[str]) -> list[str]:
    listed = list(titles)
    return listed + [""] * (-len(listed) % ACROSS)


def _pair_titles(pairs: list[Pair]) -> list[str]:
    """For each row of pairs the titles of the real ones, then of the synthetic ones below them."""
    titles: list[str] = []
    for start in range(0, len(pairs), ACROSS):
        part = pairs[start : start + ACROSS]
        titles += _padded(f"{name}: {a} × {b}, real" for name, a, b, _ in part)
        titles += _padded(f"synthetic: {score:.3f}" for *_, score in part)
    return titles


def _bars(figure: go.Figure, found: Histogram, row: int, column: int) -> None:
    """Shares of the bins, real and synthetic, the missing ones last."""
    labels = [b.label for b in found.bins] + ["missing"]
    for colour, shares in (
        (REAL, [*(b.real for b in found.bins), found.missing_real]),
        (SYNTHETIC, [*(b.synthetic for b in found.bins), found.missing_synthetic]),
    ):
        figure.add_trace(go.Bar(x=list(range(len(labels))), y=shares, hovertext=labels, marker_color=colour), row=row, col=column)


def _cells(schema: Schema, pair: Pair, real: Frames, synthetic: Frames) -> Iterator[NDArray[np.float64]]:
    """Shares of the cells that the score is taken over, of the real rows and of the synthetic ones."""
    name, *columns, _ = pair
    table = schema.tables[name]
    coders = [Discretiser.fit(real[name][c], table.column(c), bins_for(len(real[name]))) for c in columns]
    for frame in (real[name], synthetic[name]):
        counts = np.zeros((coders[0].size, coders[1].size))
        np.add.at(counts, (coders[0].codes(frame[columns[0]]), coders[1].codes(frame[columns[1]])), 1)
        yield counts / max(len(frame), 1)


def main() -> int:
    console = Console()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worst", description="The worst columns and pairs, drawn.")
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="FOLDER", help="as for benchmarks.compare")
    parser.add_argument("--peer", choices=PEERS, default="ours", metavar="PEER", help=f"of {', '.join(PEERS)} (default: ours)")
    parser.add_argument("--seed", type=int, default=0, metavar="SEED", help="default: 0")
    parser.add_argument("--out", type=Path, default=HOME / "results", metavar="FOLDER", help=f"default: {HOME / 'results'}")
    arguments = parser.parse_args()
    try:
        for data in read_data(arguments.data):
            console.print(f"Written: {draw(data.schema, arguments.out / data.name / f'seed-{arguments.seed}' / arguments.peer)}")
    except SynthError as error:
        console.print(str(error), markup=False)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
