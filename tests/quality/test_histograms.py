"""What is drawn shows distributions and hides single rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from synth_engine.quality.histograms import FEWEST_ROWS, OTHER, Histogram, associations, degrees, distributions
from synth_engine.quality.report import bars
from synth_engine.schema import Column, Kind, Schema, Table


def drawn(real: list[object], kind: Kind, data_type: str, synthetic: list[object] | None = None) -> Histogram:
    schema = Schema.of([Table("t", (Column("x", kind, data_type),))])
    frames = [pd.DataFrame({"x": pd.Series(values, dtype=object)}) for values in (real, real if synthetic is None else synthetic)]
    return distributions(schema, "t", *frames)[0]


@pytest.mark.parametrize(
    ("values", "kind", "data_type"),
    [
        ([*np.random.default_rng(0).normal(50, 9, 500).tolist(), 123_456.789], Kind.DECIMAL, "float64"),
        ([*range(100), 4711], Kind.INTEGER, "int64"),
        ([*pd.date_range("2020-01-01", periods=300, freq="D").date, pd.Timestamp("1931-07-04").date()], Kind.DATE, "date"),
        (["a"] * 40 + ["b"] * 9 + ["only me", "and me"], Kind.CATEGORY, "string"),
        (["x" * n for n in range(1, 60)], Kind.TEXT, "string"),
    ],
    ids=["decimal", "integer", "date", "category", "text"],
)
def test_no_bar_stands_for_fewer_than_five_real_rows(values, kind, data_type):
    histogram = drawn(values, kind, data_type)
    named = [b for b in histogram.bins if b.label != OTHER]
    assert all(b.real == 0 or b.real * len(values) >= FEWEST_ROWS - 1e-9 for b in named)
    assert sum(b.real for b in histogram.bins) == pytest.approx(1)


def test_neither_extremes_nor_rare_categories_are_named():
    far = drawn([*range(1000), 987_654_321], Kind.INTEGER, "int64")
    assert "987" not in f"{far.low} {far.high} {[b.label for b in far.bins]}"
    rare = drawn(["a"] * 50 + ["only me"], Kind.CATEGORY, "string")
    assert [b.label for b in rare.bins] == ["a", OTHER]


def test_only_categories_that_are_synthetic_too_are_named():
    histogram = drawn(["a"] * 50 + ["of one owner"] * 20, Kind.CATEGORY, "string", ["a"] * 70)
    assert [(b.label, round(b.real, 2), b.synthetic) for b in histogram.bins] == [("a", 0.71, 1), (OTHER, 0.29, 0)]


def test_synthetic_values_outside_the_real_range_are_counted_at_its_ends():
    histogram = drawn(list(range(100)), Kind.INTEGER, "int64", list(range(100, 200)))
    assert histogram.bins[-1].synthetic == pytest.approx(1)


def test_missing_shares_stand_apart():
    histogram = drawn([1, 2, None, None] * 10, Kind.INTEGER, "int64", [1, 2] * 20)
    assert (histogram.missing_real, histogram.missing_synthetic) == (0.5, 0.0)


@pytest.mark.parametrize("values", [[], [None] * 20, [3] * 20], ids=["no rows", "all missing", "constant"])
@pytest.mark.parametrize(("kind", "data_type"), [(Kind.DECIMAL, "float64"), (Kind.CATEGORY, "string"), (Kind.TEXT, "string")])
def test_degenerate_columns_are_drawn_or_left_empty(values, kind, data_type):
    text = [None if v is None else str(v) for v in values] if data_type == "string" else values
    assert len(drawn(text, kind, data_type).bins) <= 1


@pytest.mark.parametrize("value", [99_999_999_999_999_999, 2**63 - 1, -(2**62)])
def test_constants_too_large_for_bins_of_one_have_a_bar_with_a_width(value):
    found = bars(drawn([value] * 20, Kind.INTEGER, "int64"))
    assert all(bar.width > 0 for bar in found)
    assert sum(bar.real > 0 for bar in found) == 1


def test_degrees_include_childless_parents(shop):
    key = shop.schema.tables["orders"].foreign_keys[0]
    histogram = degrees("orders", key, shop.real, shop.frames(7))
    assert histogram.bins[0].label == "0" and histogram.bins[0].real > 0.1
    assert histogram.bins[-1].label.endswith("or more")
    assert sum(b.synthetic for b in histogram.bins) == pytest.approx(1)


def test_degrees_where_nobody_has_children(shop):
    key = shop.schema.tables["orders"].foreign_keys[0]
    barren = {**shop.real, "orders": shop.real["orders"].iloc[:0]}
    assert sum(b.real for b in degrees("orders", key, barren, barren).bins) == pytest.approx(1)


def test_associations_are_symmetric_and_find_what_goes_together():
    r = np.random.default_rng(0)
    a = r.normal(size=800)
    real = pd.DataFrame({"a": a, "b": -a + r.normal(0, 0.1, 800), "c": np.where(a > 0, "hi", "lo"), "d": r.choice(["x", "y"], 800)})
    kinds = {"a": (Kind.DECIMAL, "float64"), "b": (Kind.DECIMAL, "float64"), "c": (Kind.CATEGORY, "string"), "d": (Kind.CATEGORY, "string")}
    schema = Schema.of([Table("t", tuple(Column(name, *kind) for name, kind in kinds.items()))])
    shuffled = real.assign(b=real["b"].sample(frac=1, random_state=0).to_numpy())
    found = associations(schema, "t", real, shuffled)
    matrix = np.array(found.real)
    assert (matrix == matrix.T).all()
    assert matrix[0, 1] < -0.95 and matrix[0, 2] > 0.9 and matrix[0, 3] < 0.15
    assert abs(found.synthetic[0][1]) < 0.1 and found.difference[0][1] > 0.85
