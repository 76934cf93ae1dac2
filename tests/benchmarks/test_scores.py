"""What each score sees: data that is alike scores as the held-out half does, and each fault of a twin is seen by its score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.integrity import Reading, faults, read_tables
from benchmarks.scores import Scores, score_ceiling, score_synthetic
from benchmarks.split import Halves, halves
from tests.benchmarks.shop import SCHEMA, shop, shuffled

TWIN = shop(7, customers=150)
"""As many customers as a half has, drawn from the same distribution: what a perfect peer would write."""


@pytest.fixture(scope="module")
def real() -> Halves:
    split = halves(SCHEMA, shop(0), 0)
    assert split is not None
    return split


def scored(real: Halves, synthetic: dict[str, pa.Table]) -> Scores:
    return score_synthetic(SCHEMA, real, Reading(synthetic, [], []), seed=0)


@pytest.fixture(scope="module")
def perfect(real: Halves) -> dict[str, float]:
    return {name: value for name, value in scored(real, TWIN).summary.items() if value is not None}


def test_a_perfect_twin_scores_as_the_held_out_half_does(real: Halves, perfect: dict[str, float]) -> None:
    ceiling = score_ceiling(SCHEMA, real, seed=0).summary
    for name in ("shapes", "pairs", "cardinality", "siblings", "order", "utility", "c2st", "c2st_children"):
        assert perfect[name] == pytest.approx(ceiling[name], abs=0.08), name
    assert perfect["c2st"] < 0.6 and perfect["shapes"] > 0.9 and perfect["cardinality"] > 0.9 and perfect["rows"] == 1.0


def test_a_shuffled_column_loses_what_it_has_to_do_with_others(real: Halves, perfect: dict[str, float]) -> None:
    found = scored(real, shuffled(TWIN, "order", "spent")).summary
    assert found["shapes"] == pytest.approx(perfect["shapes"], abs=0.01)
    for name in ("parent_child", "siblings", "order", "utility"):
        assert found[name] is not None and found[name] < perfect[name] - 0.02, name


def test_an_ancestor_two_keys_above_is_seen(real: Halves, perfect: dict[str, float]) -> None:
    found = scored(real, shuffled(TWIN, "line", "weight")).summary
    assert found["hops_2"] is not None and found["hops_2"] < perfect["hops_2"] - 0.1
    assert "hops_3" not in perfect


def test_order_in_time_is_seen_where_siblings_are_alike(real: Halves, perfect: dict[str, float]) -> None:
    """Each customer's days are dealt to the orders anew: the same siblings, another order."""
    order = TWIN["order"].to_pandas()
    chance = np.random.default_rng(0).random(len(order))
    dealt = order["day"].to_numpy()[np.lexsort((chance, order["customer_id"]))]
    again = pa.Table.from_pandas(order.assign(day=dealt), preserve_index=False).cast(TWIN["order"].schema)
    found = scored(real, {**TWIN, "order": again}).summary
    assert found["siblings"] == pytest.approx(perfect["siblings"], abs=0.02)
    assert found["order"] is not None and found["order"] < perfect["order"]


def test_a_classifier_on_parents_sees_children_that_are_spread_otherwise(real: Halves, perfect: dict[str, float]) -> None:
    orders = TWIN["order"]
    crowded = pa.array(np.arange(len(orders)) % 30, pa.int64())  # a fifth of the customers have all orders
    found = scored(real, {**TWIN, "order": orders.set_column(1, "customer_id", crowded)}).summary
    assert found["cardinality"] is not None and found["cardinality"] < 0.7
    assert found["c2st_children"] is not None and found["c2st_children"] > perfect["c2st_children"] + 0.1


def test_broken_rules_are_told_with_their_rows() -> None:
    lost = {**TWIN, "customer": TWIN["customer"].slice(10), "product": pa.concat_tables([TWIN["product"], TWIN["product"].slice(0, 2)])}
    assert faults(SCHEMA, TWIN, lost) == ["product.(id): 2 rows repeat a key", "order.customer_id->customer: 50 orphans"]


def test_tables_come_back_in_the_types_of_the_schema_and_what_cannot_is_told(tmp_path: Path) -> None:
    for name, table in TWIN.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    numbered = TWIN["product"].to_pandas().assign(id=lambda f: f["id"].astype(float).astype(str), price="cheap")
    pq.write_table(pa.Table.from_pandas(numbered), tmp_path / "product.parquet")
    pq.write_table(TWIN["line"].drop_columns(["weight"]), tmp_path / "line.parquet")
    (tmp_path / "customer.parquet").unlink()
    found = read_tables(SCHEMA, tmp_path)
    assert found.tables["product"]["id"].equals(TWIN["product"]["id"]) and found.remarks == []
    assert found.faults == [
        "customer: the table is missing",
        "product.price: 20 values that are no float64",
        "line.weight: the column is missing",
    ]


def test_a_value_of_another_type_costs_itself_and_not_its_column(tmp_path: Path) -> None:
    for name, table in TWIN.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    spent = TWIN["order"].to_pandas()["spent"].astype(str)
    days = TWIN["order"].to_pandas()["day"].astype(str)
    spent[3], days[5] = "_RARE_", "soon"
    pq.write_table(pa.Table.from_pandas(TWIN["order"].to_pandas().assign(spent=spent, day=days)), tmp_path / "order.parquet")
    found = read_tables(SCHEMA, tmp_path)
    assert found.faults == ["order.day: 1 values that are no date", "order.spent: 1 values that are no float64"]
    for column, lost in (("spent", 3), ("day", 5)):
        expected = [None if row == lost else value for row, value in enumerate(TWIN["order"][column].to_pylist())]
        assert found.tables["order"][column].to_pylist() == expected


def test_a_table_that_is_not_there_is_no_better_than_a_bad_one(real: Halves, perfect: dict[str, float]) -> None:
    found = scored(real, {**TWIN, "order": TWIN["order"].slice(0, 0), "line": TWIN["line"].slice(0, 0)})
    for name, worse in (("c2st", 1), ("c2st_children", 1), ("utility", -1)):
        value = found.summary[name]
        assert value is not None and (value - perfect[name]) * worse > 0.1, name
    assert found.utility["order.spent"] == 0.5


def test_children_without_parents_have_nothing_in_common_with_them(real: Halves) -> None:
    orders = TWIN["order"]
    strangers = pa.array(np.arange(len(orders)) + 10_000, pa.int64())
    found = scored(real, {**TWIN, "order": orders.set_column(1, "customer_id", strangers)})
    assert found.summary["hops_2"] == found.summary["order"] == 0.0
    assert found.fidelity["relations"]["order.customer_id->customer"]["parent_child"] == 0.0
    assert "order.customer_id->customer: 750 orphans" in found.faults


def test_keys_are_mere_names_whatever_their_type(real: Halves, perfect: dict[str, float], tmp_path: Path) -> None:
    for name, table in TWIN.items():
        frame = table.to_pandas()
        for column in {"id", "customer_id"} & set(frame) - ({"id"} if name in ("line", "order", "product") else set()):
            frame[column] = "customer " + frame[column].astype(str)
        pq.write_table(pa.Table.from_pandas(frame), tmp_path / f"{name}.parquet")
    reading = read_tables(SCHEMA, tmp_path)
    assert reading.faults == []
    assert reading.remarks == ["keys of another type: customer.id, order.customer_id"]
    found = score_synthetic(SCHEMA, real, reading, seed=0)
    assert found.faults == [] and {name: value for name, value in found.summary.items() if value is not None} == perfect


def planted(real: Halves, synthetic: dict[str, pa.Table], table: str) -> dict[str, pa.Table]:
    """A tenth of a table's rows as learned, but for their keys."""
    made, tenth = synthetic[table], len(synthetic[table]) // 10
    seen = real.training[table].slice(0, tenth)
    for column in SCHEMA.tables[table].key_columns:
        seen = seen.set_column(seen.schema.get_field_index(column), seen.schema.field(column), made[column].slice(0, tenth))
    return {**synthetic, table: pa.concat_tables([seen, made.slice(tenth)])}


def test_an_honest_twin_is_not_red(large: Halves) -> None:
    privacy = scored(large, shop(8, customers=2_000)).privacy
    assert privacy["red"] == ()
    assert privacy["closer"] <= 0.52 and privacy["membership"] <= 0.53


def test_ten_percent_of_planted_real_rows_turn_every_check_of_privacy_red(large: Halves) -> None:
    twin = shop(8, customers=2_000)
    for table in ("order", "line"):
        twin = planted(large, twin, table)
    assert scored(large, twin).privacy["red"] == ("copies", "closer", "membership")


@pytest.fixture(scope="module")
def large() -> Halves:
    split = halves(SCHEMA, shop(3, customers=4_000), 0)
    assert split is not None
    return split


def test_without_a_held_out_half_privacy_is_not_judged() -> None:
    tables = shop(0)
    whole = Halves(tables, {name: table.slice(0, 0) for name, table in tables.items()}, frozenset())
    found = scored(whole, TWIN)
    assert found.summary["closer"] is None and found.summary["membership"] is None and found.privacy["red"] == ()
    assert found.summary["utility"] is not None and found.summary["c2st"] is not None
