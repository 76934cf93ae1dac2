"""The report: one HTML page that needs no network, for whoever decides whether the twin is good enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synth_engine.encode.keys import KEPT
from synth_engine.quality.fidelity import Fidelity
from synth_engine.quality.histograms import Associations, Bin, Histogram, associations, degrees, distributions
from synth_engine.quality.scores import DETECTION, SCORES
from synth_engine.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

    Frames = Mapping[str, pd.DataFrame]

CHART_WIDTH, CHART_HEIGHT = 320.0, 110.0


@dataclass(frozen=True)
class ReportInput:
    """Everything the page shows; aggregates only. `privacy` holds one dict of figures a table, `validation` the
    outcome's dict or None if it did not run, `steps` seconds by step in order; `warnings` stand at the top in red."""

    schema: Schema
    fidelity: Fidelity
    distributions: Mapping[str, tuple[Histogram, ...]]
    degrees: Mapping[str, Histogram]
    associations: Mapping[str, Associations]
    privacy: Mapping[str, Mapping[str, Any]]
    entities: Sequence[str]
    rules: Sequence[str]
    protections: Sequence[str]
    steps: Sequence[tuple[str, float]]
    versions: Mapping[str, str]
    seed: int
    validation: Mapping[str, Any] | None
    notes: Sequence[str]
    warnings: Sequence[str]


def build_report_input(
    schema: Schema,
    real: Frames,
    synthetic: Frames,
    fidelity: Fidelity,
    *,
    privacy: Mapping[str, Mapping[str, Any]],
    validation: Mapping[str, Any] | None,
    entities: Sequence[str],
    rules: Sequence[str],
    protections: Sequence[str],
    steps: Sequence[tuple[str, float]],
    versions: Mapping[str, str],
    seed: int,
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> ReportInput:
    """Compute the histograms and matrices from the tables; everything else is passed through."""
    matrices = {name: associations(schema, name, real[name], synthetic[name], seed=seed) for name in schema.tables}
    return ReportInput(
        schema=schema,
        fidelity=fidelity,
        distributions={name: distributions(schema, name, real[name], synthetic[name]) for name in schema.tables},
        degrees={k.label(name): degrees(name, k, real, synthetic) for name, table in schema.tables.items() for k in table.foreign_keys},
        associations={name: matrix for name, matrix in matrices.items() if matrix is not None},
        privacy=privacy,
        entities=entities,
        rules=rules,
        protections=protections,
        steps=steps,
        versions=versions,
        seed=seed,
        validation=validation,
        notes=notes,
        warnings=warnings,
    )


def render(report: ReportInput) -> str:
    """The page as HTML. Every text is escaped, whatever tables and columns are called."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synth_engine.quality", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": _percent, "seconds": _seconds, "grade": grade, "detection_grade": detection_grade}
    environment.globals |= {"bars": bars, "tallest": tallest, "SCORES": SCORES, "DETECTION": DETECTION, "KEPT": KEPT}
    environment.globals |= {"WIDTH": CHART_WIDTH, "HEIGHT": CHART_HEIGHT}
    tables = report.fidelity.tables
    return environment.get_template("report.html.j2").render(
        report=report,
        rows_real=sum(t.rows_real for t in tables.values()),
        rows_synthetic=sum(t.rows_synthetic for t in tables.values()),
        privacy_verdict=_verdict([str(figures["verdict"]) for figures in report.privacy.values()]),
        keys=_keys(report.schema),
        provenance={k.label(name): k.provenance.value for name, table in report.schema.tables.items() for k in table.foreign_keys},
    )


@dataclass(frozen=True)
class Bar:
    """A rectangle of a chart in its own units, with what it stands for."""

    x: float
    width: float
    real: float
    synthetic: float
    bin: Bin


def bars(histogram: Histogram) -> list[Bar]:
    """Bars across the chart: heights are shares by width, so that a joined bin covers its own area and no more."""
    low, high = histogram.bins[0].start, histogram.bins[-1].end
    unit = min(b.end - b.start for b in histogram.bins)
    scaled = [(b, (b.end - b.start) / unit) for b in histogram.bins]
    top = max([max(b.real, b.synthetic) / width for b, width in scaled]) or 1.0
    across, up = CHART_WIDTH / (high - low), CHART_HEIGHT / top
    return [
        Bar((b.start - low) * across, (b.end - b.start) * across, b.real / width * up, b.synthetic / width * up, b) for b, width in scaled
    ]


def tallest(histogram: Histogram) -> float:
    """The largest share of a bin, real or synthetic."""
    return max((max(b.real, b.synthetic) for b in histogram.bins), default=0.0) or 1.0


def grade(score: float | None) -> str:
    """Word for a score where 1 is best."""
    if score is None:
        return "none"
    return "good" if score >= 0.95 else "fair" if score >= 0.85 else "poor"


def detection_grade(accuracy: float | None) -> str:
    """Word for a classifier's accuracy, where 0.5 is best."""
    if accuracy is None:
        return "none"
    return "good" if accuracy < 0.6 else "fair" if accuracy < 0.8 else "poor"


def _percent(share: float | None) -> str:
    if share is None:
        return "–"
    return "0 %" if share == 0 else "<0.1 %" if share < 0.001 else f"{share * 100:.1f} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {seconds % 60:.0f} s"


def _verdict(verdicts: Sequence[str]) -> str:
    if "warn" in verdicts:
        return "warn"
    return "ok" if "ok" in verdicts else "unknown"


def _keys(schema: Schema) -> list[tuple[str, str, str, str]]:
    """Table, sort of key, what it says, and where the fact comes from."""
    found = []
    for name, table in schema.tables.items():
        if table.primary_key:
            found.append((name, "primary key", ", ".join(table.primary_key), table.provenance(table.primary_key).value))
        found += [(name, "unique", ", ".join(columns), table.provenance(columns).value) for columns in table.unique]
        hidden = {key for reference in table.polymorphic for key in reference.keys}
        for reference in table.polymorphic:
            for of, parent, column in reference.parents:
                words = f"{reference.id_column} → {parent} ({column}) where {reference.type_column} is {of}"
                found.append((name, "polymorphic reference", words, reference.provenance.value))
        for key in (k for k in table.foreign_keys if k not in hidden):
            words = f"{', '.join(key.columns)} → {key.parent} ({', '.join(key.parent_columns)})"
            words += f", with {_percent(key.orphan_share)} orphans as in the source" if key.orphan_share else ""
            found.append((name, "foreign key", words, key.provenance.value))
    return found
