"""Which columns are found to follow from others, and which are not."""

from __future__ import annotations

from collections.abc import Mapping
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.encode.derived import SAME, Derivation
from synth_engine.encode.values import to_floats
from synth_engine.model import formulas
from synth_engine.model.derivations import find_derivations, find_repeated, without
from synth_engine.schema import Column, Kind

ROWS = 400


def number(name: str, data_type: str = "float64", nullable: bool = True) -> Column:
    return Column(name, Kind.INTEGER if data_type.startswith("int") else Kind.DECIMAL, data_type, nullable)


def found(data: Mapping[str, np.ndarray], unique: tuple[str, ...] = ()) -> dict[str, str]:
    """Column -> what it is found to be."""
    arrays = {name: pa.array(values, from_pandas=True) for name, values in data.items()}
    columns = [number(name, "int64" if pa.types.is_integer(values.type) else "float64") for name, values in arrays.items()]
    return {one.column: one.says() for one in find_derivations(columns, unique, arrays)}


def shop(rows: int = ROWS) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "quantity": rng.integers(1, 9, rows),
        "price": rng.lognormal(3, 0.6, rows).round(2),
        "discount": rng.choice([0.0, 0.05, 0.1, 0.25], rows),
        "shipping": rng.choice([0.0, 4.9, 7.5, 12.3], rows),
    }


CASES = {
    "a + b": "price + shipping",
    "a * b": "quantity * price",
    "a * (1 - b)": "price * (1 - discount)",
    "a * (1 + b)": "price * (1 + discount)",
    "a / b": "price / quantity",
    "100 * a / b": "100 * price / quantity",
    "a * b + c": "quantity * price + shipping",
    "a * b - c": "quantity * price - shipping",
    "a * b * (1 - c)": "quantity * price * (1 - discount)",
    "a + b - c": "quantity + price - discount",
}


@pytest.mark.parametrize(("formula", "told"), CASES.items())
def test_a_result_rounded_to_cents_is_found(formula: str, told: str):
    data = shop()
    operands = [data[word.strip("()")] for word in told.split() if word.strip("()") in data]
    result = Derivation("result", formula, tuple("abc"[: len(operands)]), places=2).compute(operands)
    assert found({**data, "result": result}) == {"result": f"computed as {told}"}


@pytest.mark.parametrize("told", ["price * (1 - percent / 100)", "price * (1 + percent / 100)", "quantity * price * (1 - percent / 100)"])
def test_percentages_are_found(told: str):
    data = shop()
    data["percent"] = 100 * data.pop("discount")
    data["net"] = eval(told, {}, data).round(4)
    assert found(data) == {"net": f"computed as {told}"}


def test_differences_are_found_where_no_sum_may_be_computed():
    rng = np.random.default_rng(8)
    base = {name: rng.gamma(2, 10, ROWS).round(2) for name in ("gross", "costs", "fees")}
    two = {**base, "profit": (base["gross"] - base["costs"]).round(2)}
    assert found(two, ("fees",)) == {"profit": "computed as gross - costs"}
    three = {**base, "profit": (base["gross"] - base["costs"] - base["fees"]).round(2)}
    assert found(three) == {"profit": "computed as gross - costs - fees"}


def test_sums_and_differences_of_three_are_found():
    rng = np.random.default_rng(1)
    base = {name: rng.gamma(2, 10, ROWS).round(2) for name in ("cost", "tax", "fee")}
    assert found({**base, "total": sum(base.values()).round(2)}) == {"total": "computed as cost + tax + fee"}


@pytest.mark.parametrize(("factor", "told"), [(100.0, "100"), (0.19, "0.19"), (-2.5, "-2.5"), (1 / 3, "0.333333333333")])
def test_multiples_are_found_with_the_shortest_factor_that_fits(factor: float, told: str):
    price = shop()["price"]
    assert found({"price": price, "result": price * factor}) in (
        {"result": f"computed as {told} * price"},
        {"price": f"computed as {1 / factor:.12g} * result"},
    )


def test_of_two_multiples_the_one_told_finely_is_computed():
    """A rounded number of pieces is .8 times their price, too, but the price would not be 1.19 of them."""
    pieces = shop()["quantity"].astype(float)
    assert found({"pieces": pieces, "price": (1.19 * pieces).round(2)}) == {"price": "computed as 1.19 * pieces"}


def test_the_share_of_a_tax_is_found_through_the_rounding():
    price = shop(2_000)["price"]
    assert found({"price": price, "tax": (0.19 * price).round(2)}) == {"tax": "computed as 0.19 * price"}


def test_a_number_in_another_type_is_a_multiple_of_one():
    quantity = shop()["quantity"]
    assert found({"quantity": quantity, "again": quantity.astype(np.float64)}) == {"again": "computed as 1 * quantity"}


def test_a_chain_is_found_link_by_link_each_after_what_it_hangs_on():
    data = shop(2_000)
    data["gross"] = (data["quantity"] * data["price"]).round(2)
    data["net"] = Derivation("", "a * (1 - b)", ("a", "b"), places=2).compute([data["gross"], data["discount"]])
    data["total"] = (data["net"] + data["shipping"]).round(2)
    shuffled = {name: data[name] for name in ("total", "net", "gross", "price", "quantity", "discount", "shipping")}
    assert list(found(shuffled).items()) == [
        ("gross", "computed as price * quantity"),
        ("net", "computed as gross * (1 - discount)"),
        ("total", "computed as net + shipping"),
    ]


def test_of_a_sum_the_largest_is_computed_as_a_small_difference_would_be_all_error():
    rng = np.random.default_rng(2)
    opening, moved = rng.normal(50_000, 9_000, ROWS).round(2), rng.normal(0, 20, ROWS).round(2)
    told = found({"moved": moved, "opening": opening, "closing": (opening + moved).round(2)})
    assert told in ({"closing": "computed as moved + opening"}, {"opening": "computed as closing - moved"})
    assert found({"moved": moved, "opening": opening, "closing": (opening + moved).round(2)}, ("opening", "closing")) == {}


def test_nulls_belong_to_the_formula():
    data = shop()
    data["shipping"][::3] = np.nan
    total = (data["price"] + data["shipping"]).round(2)
    assert found({**data, "total": total}) == {"total": "computed as price + shipping"}
    assert found({**data, "total": np.where(np.isnan(total), data["price"], total)}) == {}
    assert found({**data, "total": np.where(np.arange(ROWS) == 4, np.nan, total)}) == {}


def test_one_row_in_which_it_does_not_hold_is_enough():
    data = shop(5_000)
    data["total"] = (data["quantity"] * data["price"]).round(2)
    data["total"][4_321] += 500
    assert found(data) == {}


def test_what_holds_in_few_rows_or_for_few_values_may_be_chance():
    few = {name: values[:19] for name, values in shop().items()}
    assert found({**few, "total": (few["quantity"] * few["price"]).round(2)}) == {}
    rng = np.random.default_rng(3)
    flags = {name: rng.integers(0, 2, ROWS) for name in ("a", "b")}
    assert found({**flags, "either": flags["a"] + flags["b"]}) == {}


def test_a_column_that_hardly_ever_makes_a_difference_is_none_of_the_formula():
    data = {"price": shop()["price"], "fee": np.where(np.arange(ROWS) < 5, 3.0, 0.0)}
    assert found({**data, "total": (data["price"] + data["fee"]).round(2)}) == {}


def test_columns_that_must_not_repeat_are_neither_computed_nor_computed_from():
    data = shop()
    data["total"] = (data["quantity"] * data["price"]).round(2)
    assert found(data, ("total",)) == {} and found(data, ("price",)) == {}


def test_the_number_of_rows_compared_at_a_time_changes_nothing(monkeypatch):
    data = shop(3_000)
    data["total"] = (data["quantity"] * data["price"]).round(2)
    whole = found(data)
    monkeypatch.setattr(formulas, "CHUNK", 7)
    assert found(data) == whole == {"total": "computed as quantity * price"}


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), columns=st.integers(2, 7), levels=st.integers(2, 40), rows=st.integers(0, 60))
def test_whatever_is_found_holds_in_every_row_and_never_in_a_circle(seed: int, columns: int, levels: int, rows: int):
    rng = np.random.default_rng(seed)
    arrays = {f"c{i}": rng.integers(0, levels, rows) for i in range(columns)}
    arrays["sum"] = arrays["c0"] + arrays["c1"]
    data = {name: pa.array(values) for name, values in arrays.items()}
    known: set[str] = set()
    result = find_derivations([number(name, "int64") for name in data], (), data)
    for one in result:
        operands = [to_floats(data[name], "int64") for name in one.operands]
        values = to_floats(data[one.column], "int64")
        assert np.array_equal(operands[0] if one.is_copy else one.compute(operands), values, equal_nan=True)
        assert not {other.column for other in result if not other.is_copy} & set(one.operands) - known or one.is_copy
        known.add(one.column)
    assert len(known) == len(result)


def test_columns_that_are_zero_in_nearly_all_rows_are_not_taken_for_anything():
    """They agree with one another in nearly all rows; looking at each three of them would take minutes."""
    rng = np.random.default_rng(7)
    data = {f"c{i}": np.where(rng.random(2_000) < 0.006, rng.gamma(2, 10, 2_000).round(2), 0.0) for i in range(60)}
    tried = []
    with patch.object(formulas._Search, "_holds_in_some", lambda _, one: tried.append(one)):
        assert found(data) == {}
    assert len(tried) < 2_000


# -- columns that repeat others


def texts(*names: str) -> list[Column]:
    return [Column(name, Kind.TEXT, "string") for name in names]


def test_a_column_that_repeats_another_is_its_copy_whatever_its_type():
    email = [None if i % 9 == 0 else f"p{i}@x.org" for i in range(60)]
    data = {"email": pa.array(email), "other": pa.array([f"p{i}@x.org" for i in range(60)]), "login": pa.array(email)}
    assert find_derivations(texts(*data), (), data) == [Derivation("login", SAME, ("email",))]


def test_a_copy_of_what_must_not_repeat_is_one_but_not_the_other_way_round():
    data = {"login": pa.array([f"p{i}" for i in range(60)]), "email": pa.array([f"p{i}" for i in range(60)])}
    assert find_derivations(texts(*data), ("login",), data) == [Derivation("email", SAME, ("login",))]
    assert find_derivations(texts(*data), ("email",), data) == []


@pytest.mark.parametrize(("yes", "copies"), [(15, 1), (1, 0)])
def test_flags_that_are_alike_may_be_so_by_chance(yes: int, copies: int):
    flag = pa.array([i < yes for i in range(30)])
    columns = [Column(name, Kind.BOOLEAN, "boolean") for name in ("active", "enabled")]
    assert len(find_derivations(columns, (), {"active": flag, "enabled": flag})) == copies


def customers() -> dict[str, pa.Array]:
    return {"city": pa.array([f"town {i % 40}" for i in range(80)]), "code": pa.array([f"{i:03d}" for i in range(80)])}


def repeated(child: Mapping[str, pa.Array], at: np.ndarray, parent: Mapping[str, pa.Array], nullable: bool = True) -> list[Derivation]:
    columns = [Column(name, Kind.CATEGORY, "string", nullable) for name in child]
    return find_repeated(columns, (), child, {2: (at, texts(*parent), parent)})


def test_a_column_that_repeats_its_parents_is_found_with_the_key_that_leads_there():
    at = np.arange(300) % 80
    at[::7] = -1
    told = customers()["city"].take(pa.array(at, mask=at < 0))
    assert repeated({"note": pa.array(["x"] * 300), "ship_city": told}, at, customers()) == [
        Derivation("ship_city", SAME, ("city",), key=2)
    ]


def test_a_column_that_has_a_value_without_a_parent_repeats_none():
    at = np.where(np.arange(300) == 5, -1, np.arange(300) % 80)
    assert repeated({"ship_city": customers()["city"].take(pa.array(np.maximum(at, 0)))}, at, customers()) == []


def test_a_column_that_must_not_be_null_repeats_none_that_may_be():
    at, parent = np.arange(300) % 79, customers()
    told = {"ship_city": parent["city"].take(pa.array(at))}
    assert len(repeated(told, at, parent, nullable=False)) == 1
    parent["city"] = pa.array([*parent["city"].to_pylist()[:79], None])  # of the one customer without orders
    assert repeated(told, at, parent, nullable=False) == []
    assert len(repeated(told, at, parent)) == 1


def test_two_parents_alike_in_many_rows_are_no_proof():
    at = np.zeros(300, np.int64)
    assert repeated({"ship_city": customers()["city"].take(pa.array(at))}, at, customers()) == []


# -- dates and times


def moments(rows: int = 600) -> dict[str, pa.Array]:
    rng = np.random.default_rng(4)
    started = 1_640_000_000 + rng.integers(0, 8 * 10**7, rows)
    ended = started + rng.gamma(2, 3_000, rows).round().astype(int)
    return {name: pa.array(values * 10**6, pa.timestamp("us")) for name, values in (("started", started), ("ended", ended))}


def told_of_moments(name: str, values: pa.Array, kind: Kind, data_type: str, rows: int = 600) -> list[str]:
    data = {**moments(rows), name: values}
    columns = [*(Column(moment, Kind.TIMESTAMP, "timestamp") for moment in ("started", "ended")), Column(name, kind, data_type)]
    return [one.says() for one in find_derivations(columns, (), data) if one.column == name]


@pytest.mark.parametrize("kind", [Kind.INTEGER, Kind.CATEGORY])
def test_parts_of_a_date_are_found(kind: Kind):
    month = pc.month(moments()["started"])
    assert told_of_moments("month", month, kind, "int64") == ["the month of started"]
    assert told_of_moments("month", pc.replace_with_mask(month, pa.array([True] + 599 * [False]), pa.array([13])), kind, "int64") == []


def test_the_time_between_two_moments_is_found():
    started, ended = (moments()[name].cast(pa.int64()).to_numpy() / 1e6 for name in ("started", "ended"))
    assert told_of_moments("wait", pa.array(ended - started), Kind.DECIMAL, "float64") == ["the seconds from started to ended"]
    assert told_of_moments("wait", pa.array(((ended - started) / 60).round(1)), Kind.DECIMAL, "float64") == [
        "the minutes from started to ended"
    ]
    assert told_of_moments("wait", pa.array((ended - started) // 3_600), Kind.INTEGER, "int64") == ["the whole hours from started to ended"]


def test_names_of_a_part_are_found_in_text_and_flags():
    weekend = pc.greater_equal(pc.day_of_week(moments()["started"]), 5)
    assert told_of_moments("weekend", weekend, Kind.BOOLEAN, "boolean") == ["settled by the weekday of started, Monday 0"]
    name = pc.strftime(moments()["started"], "%B")
    assert told_of_moments("month", name, Kind.CATEGORY, "string") == ["settled by the month of started"]
    wrong = pc.replace_with_mask(name, pa.array([True] + 599 * [False]), pa.array(["Smarch"]))
    assert told_of_moments("month", wrong, Kind.CATEGORY, "string") == []


def test_a_flag_that_is_nearly_always_the_same_may_agree_with_a_part_by_chance():
    hour = pc.hour(moments(24)["started"])
    rare = pc.equal(hour, hour[0])
    assert told_of_moments("rare", rare, Kind.BOOLEAN, "boolean", 24) == []


# -- what cannot be computed


def test_what_hangs_on_a_column_that_is_gone_is_gone_with_it():
    chain = [Derivation("b", "a * b", ("a", "x")), Derivation("c", "a + b", ("b", "y")), Derivation("d", SAME, ("b",))]
    assert without(chain, {"x"}) == [chain[2]]
    assert without(chain, {"y"}) == [chain[0], chain[2]]
    assert without(chain, set()) == chain


def test_what_only_restates_a_column_needs_none_to_be_drawn_again():
    assert without([Derivation("month", "month of a", ("placed",))], {"placed"}) != []


# -- found by users


def test_whole_numbers_differ_however_large_they_are():
    """Milliseconds since 1970 of a start and an end are not the same for being near each other beside their size."""
    rng = np.random.default_rng(9)
    start = 1_700_000_000_000 + rng.integers(0, 10**10, ROWS)
    end = start + rng.integers(5, 1_500, ROWS)
    assert found({"start": start, "end": end}) == {}
    assert len(found({"start": start, "end": end, "lasted": end - start})) == 1


def test_a_rate_of_a_few_values_is_no_result_of_two_amounts():
    rng = np.random.default_rng(10)
    net, rate = rng.gamma(2, 90, ROWS).round(2), rng.choice([0.07, 0.19, 0.25], ROWS)
    tax = (net * rate).round(2)
    tax[::7] += 0.01  # of several lines, each rounded
    assert found({"net": net, "tax": tax, "rate": rate}, ("none",)) in ({}, {"tax": "computed as net * rate"})


def test_durations_can_be_computed_with():
    rng = np.random.default_rng(11)
    rate = rng.choice([11.5, 14.0, 20.25], 600)
    data = moments()
    hours = ((data["ended"].cast(pa.int64()).to_numpy() - data["started"].cast(pa.int64()).to_numpy()) / 3.6e9).round(2)
    data |= {"rate": pa.array(rate), "hours": pa.array(hours), "pay": pa.array((hours * rate).round(2))}
    columns = [*(Column(name, Kind.TIMESTAMP, "timestamp") for name in ("started", "ended")), *map(number, ("rate", "hours", "pay"))]
    assert [one.says() for one in find_derivations(columns, (), data)] == ["the hours from started to ended", "computed as rate * hours"]
