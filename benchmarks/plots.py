"""The figures as plots on one page of HTML that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.page import FIGURES, SYSTEMS, Result

GROUPS = {
    "Fidelity and use, 1 is best": ("shapes", "pairs", "cardinality", "parent_child", "hops_2", "hops_3", "siblings", "order", "utility"),
    "Detection and privacy, 0.5 is best": ("c2st", "c2st_children", "closer", "membership"),
    "Seconds": ("train_seconds", "generate_seconds"),
    "Gigabytes": ("train_gb", "generate_gb"),
}
WIDTHS = [9, 5, 3, 3]
COLOURS = dict(zip(SYSTEMS, ("#1f6fb4", "#d9822b", "#7a5ea8", "#8a8f98"), strict=True))


def write_plots(results: Sequence[Result], path: Path) -> None:
    """One row of plots a data set, a bar a system, its deviation over the seeds as error bar."""
    names = list(dict.fromkeys(result.data for result in results))
    figure = make_subplots(
        rows=len(names),
        cols=len(GROUPS),
        column_widths=WIDTHS,
        horizontal_spacing=0.04,
        subplot_titles=[f"{name}: {group}" for name in names for group in GROUPS],
    )
    shown: set[str] = set()
    for result in results:
        for column, figures in enumerate(GROUPS.values(), 1):
            there = [f for f in figures if result.figures.get(f)]
            if not there:
                continue
            values = [result.figures[f] for f in there]
            figure.add_trace(
                go.Bar(
                    name=SYSTEMS.get(result.system, result.system),
                    x=[FIGURES[f][0] for f in there],
                    y=[fmean(v) for v in values],
                    error_y={"array": [stdev(v) if len(v) > 1 else None for v in values]},
                    marker_color=COLOURS.get(result.system),
                    legendgroup=result.system,
                    showlegend=result.system not in shown,
                ),
                row=names.index(result.data) + 1,
                col=column,
            )
            shown.add(result.system)
    for row in range(1, len(names) + 1):
        for column in (1, 2):
            figure.update_yaxes(range=[0, 1], row=row, col=column)
        figure.add_hline(y=0.5, line_dash="dot", row=row, col=2)
    figure.update_layout(
        height=380 * len(names) + 120,
        barmode="group",
        template="plotly_white",
        margin={"t": 110},
        legend={"orientation": "h", "yref": "container", "y": 0.99, "yanchor": "top"},
    )
    figure.write_html(path, include_plotlyjs=True)
