"""Columns of parents that sum up their children."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from synth_engine.model import aggregates
from synth_engine.model.aggregates import DRAWN, Aggregate, over_children
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.generation import Generation
from synth_engine.model.learning import learn
from synth_engine.model.preparation import prepare
from synth_engine.model.rules import add_up
from synth_engine.model.state import Model
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace
from tests.model.conftest import CONFIG, generate

CUSTOMERS, ORDERS, LINES = 200, 900, 2_500
ID = Column("id", Kind.IDENTIFIER, "int64", False)


def number(name: str, data_type: str = "float64") -> Column:
    return Column(name, Kind.INTEGER if data_type == "int64" else Kind.DECIMAL, data_type)


def reference(name: str, parent: str) -> tuple[Column, ForeignKey]:
    return Column(name, Kind.IDENTIFIER, "int64", False), ForeignKey((name,), parent, ("id",))


CUSTOMER, TO_CUSTOMER = reference("customer", "customers")
ORDER, TO_ORDER = reference("order", "orders")
FIRST = Column("first", Kind.DATE, "date")
LAST, PLACED = (Column(name, Kind.TIMESTAMP, "timestamp") for name in ("last", "placed"))
SCHEMA = Schema.of(
    [
        Table(
            "customers",
            (
                ID,
                number("orders", "int64"),
                number("spent"),
                Column("first", Kind.DATE, "date"),
                Column("last", Kind.TIMESTAMP, "timestamp"),
            ),
            ("id",),
        ),
        Table(
            "orders",
            (
                ID,
                CUSTOMER,
                Column("placed", Kind.TIMESTAMP, "timestamp"),
                number("net"),
                number("shipping"),
                number("total"),
                number("mean"),
            ),
            ("id",),
            foreign_keys=(TO_CUSTOMER,),
        ),
        Table("lines", (ID, ORDER, number("quantity", "int64"), number("amount"), number("order_net")), ("id",), foreign_keys=(TO_ORDER,)),
    ]
)


def summed(values: np.ndarray, at: np.ndarray, rows: int) -> np.ndarray:
    return np.bincount(at, values, rows).round(2)


def source(seed: int = 0) -> dict[str, pa.Table]:
    """A tenth of the customers have no orders; every order has lines."""
    rng = np.random.default_rng(seed)
    customer = np.r_[np.arange(180), rng.integers(0, 180, ORDERS - 180)]
    order = np.r_[np.arange(ORDERS), rng.integers(0, ORDERS, LINES - ORDERS)]
    placed = 1_700_000_000 + rng.integers(0, 10**7, ORDERS)
    amount = rng.gamma(2, 20, LINES).round(2)
    net, shipping, lines = summed(amount, order, ORDERS), rng.choice([0, 4.9, 7.5], ORDERS), np.bincount(order, minlength=ORDERS)
    total = (net + shipping).round(2)
    count = np.bincount(customer, minlength=CUSTOMERS)
    first, last = np.full(CUSTOMERS, 2 * 10**9), np.zeros(CUSTOMERS, np.int64)
    np.minimum.at(first, customer, placed)
    np.maximum.at(last, customer, placed)
    none = count == 0
    return {
        "customers": pa.table(
            {
                "id": np.arange(CUSTOMERS),
                "orders": count,
                "spent": pa.array(summed(total, customer, CUSTOMERS), mask=none),
                "first": pa.array((first // 86_400).astype(np.int32), mask=none).cast(pa.date32()),
                "last": pa.array(last * 10**6, pa.timestamp("us"), mask=none),
            }
        ),
        "orders": pa.table(
            {
                "id": np.arange(ORDERS),
                "customer": customer,
                "placed": pa.array(placed * 10**6, pa.timestamp("us")),
                "net": net,
                "shipping": shipping,
                "total": total,
                "mean": (net / lines).round(4),
            }
        ),
        "lines": pa.table(
            {
                "id": np.arange(LINES),
                "order": order,
                "quantity": rng.integers(1, 9, LINES),
                "amount": amount,
                "order_net": net[order],
            }
        ),
    }


def found(tables: dict[str, pa.Table]) -> dict[str, dict[str, str]]:
    told = add_up(prepare(SCHEMA, dict(tables), 0), {}, ())
    return {name: {one.column: one.says() for one in some} for name, some in told.items() if some}


def changed(tables: dict[str, pa.Table], name: str, column: str, values: np.ndarray | pa.Array) -> dict[str, pa.Table]:
    table = tables[name]
    return {**tables, name: table.set_column(table.column_names.index(column), column, pa.array(values))}


def test_counts_sums_means_and_the_first_and_last_are_found():
    assert found(source()) == {
        "customers": {
            "orders": "count(*) of its rows of orders",
            "spent": "sum(total) of its rows of orders",
            "first": "min(placed) of its rows of orders",
            "last": "max(placed) of its rows of orders",
        },
        "orders": {"net": "sum(amount) of its rows of lines", "mean": "avg(amount) of its rows of lines"},
    }


def test_one_parent_that_contradicts_is_enough():
    tables = source()
    spent = np.array(tables["customers"]["spent"].to_pylist(), float)
    spent[3] += 1
    assert "spent" not in found(changed(tables, "customers", "spent", spent))["customers"]


def test_parents_without_children_are_all_alike_or_contradict():
    tables = source()
    zero = np.nan_to_num(np.array(tables["customers"]["spent"].to_pylist(), float))
    assert "spent" in found(changed(tables, "customers", "spent", zero))["customers"]
    zero[-1] = 7
    assert "spent" not in found(changed(tables, "customers", "spent", zero))["customers"]


def test_a_number_of_one_row_without_children_is_not_kept(trained: Model):
    """It would stand in the model, and in every row without children."""
    none = np.isnan(np.array(source()["customers"]["spent"].to_pylist(), float))
    spent = np.where(none, 83_712.55, np.nan_to_num(np.array(source()["customers"]["spent"].to_pylist(), float)))
    assert "spent" not in found(changed(source(), "customers", "spent", spent))["customers"]


def test_what_children_come_to_goes_before_what_the_row_says():
    """Net is the sum of the lines, not the total less the shipping, though that is found first."""
    tables = source()
    shipping = np.maximum(tables["orders"]["net"].to_numpy().round(2), 1)
    tables = changed(tables, "orders", "shipping", shipping)
    tables = changed(tables, "orders", "total", (tables["orders"]["net"].to_numpy() - shipping).round(2) + 0.0)
    prepared = prepare(SCHEMA, dict(tables), 0)
    told = add_up(prepared, {}, ())
    assert "net" in {one.column for one in told["orders"]}
    assert "net" not in {one.column for one in prepared["orders"].derived}


def test_where_the_source_has_no_childless_parents_a_count_without_children_is_zero():
    tables = source()
    tables["customers"] = tables["customers"].slice(0, 180)
    model = learn(SCHEMA, tables, CONFIG)
    twin = generate(model, {"customers": 180, "orders": 60}, seed=1)
    at = np.bincount(joined(twin, "orders", "customers"), minlength=180)
    assert (at == 0).any() and np.array_equal(floats(twin["customers"], "orders"), at)


def test_of_only_children_nothing_is_summed_up():
    order = np.arange(ORDERS)
    lines = {"id": order, "order": order, "quantity": order, "amount": source()["orders"]["net"], "order_net": source()["orders"]["net"]}
    assert "orders" not in found({**source(), "lines": pa.table(lines)})


@pytest.mark.parametrize(
    ("function", "expected"),
    [("count", [2, 1, np.nan]), ("sum", [5, 7, np.nan]), ("avg", [2.5, 7, np.nan]), ("min", [1, 7, np.nan]), ("max", [4, 7, np.nan])],
)
def test_nulls_and_rows_without_a_parent_are_passed_over(function: str, expected: list[float], monkeypatch):
    values, parents = np.array([1.0, 4.0, np.nan, 7.0, 9.0, np.nan]), np.array([0, 0, 0, 1, -1, 2])
    for chunk in (500_000, 2):
        monkeypatch.setattr(aggregates, "CHUNK", chunk)
        assert np.array_equal(over_children(function, values.__getitem__, parents, 3), expected, equal_nan=True)
    assert over_children("count", None, parents, 3).tolist() == [3, 1, 1]


def test_parents_without_children_get_what_they_have_in_the_source():
    def of(childless: float | str | None) -> list[float | None]:
        one = Aggregate("spent", "sum", "orders", 0, "total", 2, childless)
        return one.column_of(np.array([1.5, np.nan]), lambda: pa.array([8.0, 9.0]), "float64").to_pylist()

    assert of(0.0) == [1.5, 0.0] and of(None) == [1.5, None] and of(DRAWN) == [1.5, 9.0]


def test_an_aggregate_survives_json():
    for one in (Aggregate("n", "count", "orders", 1, None, 0, 0.0), Aggregate("d", "min", "orders", 0, "placed", None, None)):
        assert Aggregate.from_json(json.loads(json.dumps(one.to_json()))) == one


# -- twins


@pytest.fixture(scope="module")
def trained() -> Model:
    return learn(SCHEMA, source(), CONFIG)


@pytest.fixture(scope="module")
def written(trained: Model) -> dict[str, pa.Table]:
    return generate(trained, {"customers": 500}, seed=1)


def joined(twin: dict[str, pa.Table], child: str, parent: str) -> np.ndarray:
    key = {"orders": "customer", "lines": "order"}[child]
    return pc.index_in(twin[child][key], value_set=twin[parent]["id"].combine_chunks()).to_numpy()


def floats(table: pa.Table, name: str) -> np.ndarray:
    return np.array(table[name].to_pylist(), float)


def test_a_twin_adds_up_from_lines_to_orders_to_customers(written: dict[str, pa.Table]):
    customers, orders, lines = written["customers"], written["orders"], written["lines"]
    order, customer = joined(written, "lines", "orders"), joined(written, "orders", "customers")
    net = summed(floats(lines, "amount"), order, orders.num_rows)
    assert np.allclose(floats(orders, "net")[np.unique(order)], net[np.unique(order)], atol=1e-9)
    assert np.allclose(floats(orders, "total"), floats(orders, "net") + floats(orders, "shipping"), atol=1e-9)
    spent = summed(floats(orders, "total"), customer, customers.num_rows)
    count = np.bincount(customer, minlength=customers.num_rows)
    assert np.array_equal(floats(customers, "orders"), count) and (count == 0).any()
    assert np.allclose(floats(customers, "spent"), np.where(count, spent, np.nan), atol=1e-9, equal_nan=True)
    assert np.allclose(floats(lines, "order_net"), floats(orders, "net")[order])


def test_the_first_and_last_are_those_of_the_children(written: dict[str, pa.Table]):
    at = joined(written, "orders", "customers")
    placed = written["orders"]["placed"].cast(pa.int64()).to_numpy() / 1e6
    found = over_children("min", placed.__getitem__, at, written["customers"].num_rows)
    last = over_children("max", placed.__getitem__, at, written["customers"].num_rows)
    first = written["customers"]["first"].cast(pa.int32()).to_numpy(zero_copy_only=False)
    assert np.array_equal(first, found // 86_400, equal_nan=True)
    told = written["customers"]["last"].cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
    assert np.array_equal(told, last, equal_nan=True)


def test_a_model_read_from_disk_adds_up_the_same_however_many_rows_are_written_at_a_time(
    trained: Model, written: dict[str, pa.Table], tmp_path
):
    workspace = Workspace(str(tmp_path))
    write_model(trained, workspace)
    again = generate(read_model(workspace), {"customers": 500}, seed=1, batch_rows=77)
    assert all(again[name].equals(written[name]) for name in written)


def test_what_sums_up_is_said_and_not_held_against_the_source(trained: Model):
    assert "customers.spent: sum(total) of its rows of orders" in trained.rules()
    assert trained.categories()["customers"] == {"orders": [], "spent": [], "first": [], "last": []}
    assert trained.categories()["orders"] == {"net": [], "mean": [], "total": []}


def test_kept_parents_stay_as_they_are_and_so_do_rows_that_repeat_them():
    real = source()
    config = CONFIG.model_copy(update={"keep": ["orders", "customers"]})
    made = Generation(learn(SCHEMA, real, config), {}, 0, kept={name: real[name] for name in config.keep}).run()
    twin = {name: pa.Table.from_batches(made.batches(name, 10**6)) for name in real}
    assert twin["customers"].equals(real["customers"].cast(twin["customers"].schema))
    assert np.array_equal(floats(twin["lines"], "order_net"), floats(real["orders"], "net")[joined(twin, "lines", "orders")])


def test_no_children_at_all_leave_the_counts_at_zero(trained: Model):
    twin = generate(trained, {"orders": 0, "lines": 0}, seed=1)
    assert set(twin["customers"]["orders"].to_pylist()) == {0} and twin["customers"]["spent"].null_count == twin["customers"].num_rows


# -- what sums leave behind


def paid_orders() -> tuple[Schema, dict[str, pa.Table]]:
    """Of every order's net, the sum of its lines, a part is paid, and so many percent."""
    rng = np.random.default_rng(9)
    tables = source()
    net = tables["orders"]["net"].to_numpy()
    paid = np.floor(net * rng.uniform(0.5, 1, ORDERS) * 100) / 100
    tables["orders"] = pa.table({"id": np.arange(ORDERS), "net": net, "paid": paid, "percent": (100 * paid / net).round(1)})
    orders = Table("orders", (ID, number("net"), number("paid"), number("percent")), ("id",))
    lines = Table("lines", (ID, ORDER, number("amount")), ("id",), foreign_keys=(TO_ORDER,))
    return Schema.of([orders, lines]), {
        name: tables[name].select(Schema.of([orders, lines]).tables[name].column_names) for name in ("orders", "lines")
    }


def test_what_goes_with_a_sum_is_not_computed_from_it_and_stays_on_its_side():
    """The sum moves to what the lines come to, what is paid of it does not: 1,500 percent would be paid."""
    schema, tables = paid_orders()
    model = learn(schema, tables, CONFIG)
    assert model.rules() == ["orders.net: sum(amount) of its rows of lines"]
    orders = generate(model, seed=1)["orders"]
    assert (floats(orders, "paid") <= floats(orders, "net") + 1e-9).all() and floats(orders, "percent").max() <= 100


def test_a_quotient_of_sums_is_not_null_where_it_must_not_be():
    """Points of lines may come to nothing, and the price a point with them."""
    rng = np.random.default_rng(10)
    order, points = np.repeat(np.arange(300), 3), rng.choice([-2, -1, 1, 2], 900)
    points[::3] = np.where(points.reshape(300, 3).sum(axis=1) == 0, points[::3] + np.sign(points[::3]), points[::3])
    total = points.reshape(300, 3).sum(axis=1)
    points[::3] += total == 0
    total = points.reshape(300, 3).sum(axis=1)
    price = rng.gamma(9, 9, 300).round(2)
    each = Column("each", Kind.DECIMAL, "float64", False)
    orders = Table("orders", (ID, number("points", "int64"), number("price"), each), ("id",))
    lines = Table("lines", (ID, ORDER, number("points", "int64")), ("id",), foreign_keys=(TO_ORDER,))
    tables = {
        "orders": pa.table({"id": np.arange(300), "points": total, "price": price, "each": (price / total).round(2)}),
        "lines": pa.table({"id": np.arange(900), "order": order, "points": points}),
    }
    model = learn(Schema.of([orders, lines]), tables, CONFIG)
    assert len(model.rules()) == 2
    twin = generate(model, {"orders": 900}, seed=1)["orders"]
    assert (floats(twin, "points") == 0).any() and not twin["each"].null_count


def test_a_moment_that_others_are_told_from_is_none_that_sums_up():
    """Tickets are opened after a customer's first order: it would move, and they would not."""
    rng = np.random.default_rng(11)
    tables = source()
    place = tables["customers"]["last"].cast(pa.int64()).to_numpy(zero_copy_only=False)
    customer = rng.choice(np.flatnonzero(np.isfinite(place)), 700)
    opened = pa.array((place[customer] + rng.gamma(2, 8e10, 700)).astype(np.int64), pa.timestamp("us"))
    tables["tickets"] = pa.table({"id": np.arange(700), "customer": customer, "opened": opened})
    tickets = Table("tickets", (ID, CUSTOMER, Column("opened", Kind.TIMESTAMP, "timestamp")), ("id",), foreign_keys=(TO_CUSTOMER,))
    told = add_up(prepare(Schema({**SCHEMA.tables, "tickets": tickets}), dict(tables), 0), {}, ())
    assert "last" not in {one.column for one in told["customers"]}


def test_sums_of_what_is_computed_from_other_sums_add_up():
    """A product's costs are the sum of its purchases, a line's the product's, an order's the sum of its lines."""
    rng = np.random.default_rng(12)
    product, order, bought = rng.integers(0, 60, 900), np.r_[np.arange(300), rng.integers(0, 300, 600)], rng.integers(0, 60, 500)
    price, quantity = rng.gamma(2, 9, 500).round(2), rng.integers(1, 7, 900)
    cost = summed(price, bought, 60)
    amount = (quantity * cost[product]).round(2)
    key, to_product = reference("product", "products")
    schema = Schema.of(
        [
            Table("products", (ID, number("cost")), ("id",)),
            Table("purchases", (ID, key, number("price")), ("id",), foreign_keys=(to_product,)),
            Table("orders", (ID, number("cost")), ("id",)),
            Table(
                "lines",
                (ID, ORDER, key, number("quantity", "int64"), number("unit_cost"), number("cost")),
                ("id",),
                foreign_keys=(TO_ORDER, to_product),
            ),
        ]
    )
    tables = {
        "products": pa.table({"id": np.arange(60), "cost": cost}),
        "purchases": pa.table({"id": np.arange(500), "product": bought, "price": price}),
        "orders": pa.table({"id": np.arange(300), "cost": summed(amount, order, 300)}),
        "lines": pa.table(
            {"id": np.arange(900), "order": order, "product": product, "quantity": quantity, "unit_cost": cost[product], "cost": amount}
        ),
    }
    model = learn(schema, tables, CONFIG)
    assert len(model.rules()) == 4
    twin = generate(model, seed=1)
    assert np.allclose(floats(twin["orders"], "cost"), summed(floats(twin["lines"], "cost"), joined(twin, "lines", "orders"), 300))
    assert np.allclose(floats(twin["lines"], "cost"), floats(twin["lines"], "quantity") * floats(twin["lines"], "unit_cost"), atol=0.01)


def boxes(**more: np.ndarray) -> tuple[Schema, dict[str, pa.Table]]:
    """Boxes and the weights of what is in them, with `more` columns of boxes (of 300 rows) or of slots (of 900)."""
    rng = np.random.default_rng(15)
    box = np.r_[np.arange(300), rng.integers(0, 300, 600)]
    weight = rng.integers(5, 40, 900).astype(float)
    tables = {
        "boxes": {"id": np.arange(300), "total": np.bincount(box, weight)},
        "slots": {"id": np.arange(900), "box": box, "weight": weight},
    }
    for name, values in more.items():
        tables["boxes" if len(values) == 300 else "slots"][name] = values
    kinds = {"i": (Kind.CATEGORY, "int64"), "f": (Kind.DECIMAL, "float64"), "U": (Kind.CATEGORY, "string")}
    ids = {name: Column(name, Kind.IDENTIFIER, "int64", False) for name in ("id", "box")}
    columns = {
        name: tuple(ids.get(c) or Column(c, *kinds[values.dtype.kind]) for c, values in data.items()) for name, data in tables.items()
    }
    to_box = ForeignKey(("box",), "boxes", ("id",))
    schema = Schema.of([Table("boxes", columns["boxes"], ("id",)), Table("slots", columns["slots"], ("id",), foreign_keys=(to_box,))])
    return schema, {name: pa.table(data) for name, data in tables.items()}


def test_what_is_summed_up_does_not_hang_on_its_own_sum():
    """A slot's weight is its share of the box's total, which is the sum of the weights: one of the two must be drawn."""
    _, tables = boxes()
    box, weight = tables["slots"]["box"].to_numpy(), tables["slots"]["weight"].to_numpy()
    total = tables["boxes"]["total"].to_numpy()[box]
    schema, tables = boxes(box_total=total, share=weight / total)
    model = learn(schema, tables, CONFIG)
    assert {"boxes.total: sum(weight) of its rows of slots", "slots.box_total: the same as total of its row of boxes"} <= set(model.rules())
    assert "slots.weight: computed" not in str(model.rules())
    twin = generate(model)
    at = pc.index_in(twin["slots"]["box"], value_set=twin["boxes"]["id"].combine_chunks()).to_numpy()
    assert np.allclose(floats(twin["boxes"], "total")[np.unique(at)], np.bincount(at, floats(twin["slots"], "weight"), 300)[np.unique(at)])
    assert floats(twin["slots"], "weight").max() < 40


def test_what_sums_up_neither_settles_nor_is_shared():
    _, tables = boxes()
    count = np.bincount(tables["slots"]["box"].to_numpy(), minlength=300)
    schema, tables = boxes(n=count, size=np.where(count > 3, "big", "small"))
    rules = learn(schema, tables, CONFIG).rules()
    assert "boxes.n: count(*) of its rows of slots" in rules and not any("settled" in rule for rule in rules)


def test_two_sums_make_a_third_number_however_small_the_difference():
    """Taxes are gross less net, each the sum of the lines."""
    _, tables = boxes()
    weight, box = tables["slots"]["weight"].to_numpy(), tables["slots"]["box"].to_numpy()
    gross = (weight * np.random.default_rng(16).choice([1.07, 1.19], 900)).round(2)
    total = summed(gross, box, 300)
    schema, tables = boxes(gross=gross, gross_total=total, tax=(total - tables["boxes"]["total"].to_numpy()).round(2))
    model = learn(schema, tables, CONFIG)
    assert "boxes.tax: computed as gross_total - total" in model.rules()
    twin = generate(model)["boxes"]
    assert np.allclose(floats(twin, "tax"), floats(twin, "gross_total") - floats(twin, "total"), atol=1e-9)
