"""Columns that follow from others, from training to the rows that are written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from synth_engine.config import Config
from synth_engine.model import computed
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.generation import Generation
from synth_engine.model.learning import learn
from synth_engine.model.state import Model
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace
from tests.model.conftest import CONFIG, generate

CUSTOMERS, ORDERS = 300, 1_500
ID = Column("id", Kind.IDENTIFIER, "int64", False)


def decimal(name: str) -> Column:
    return Column(name, Kind.DECIMAL, "decimal(12,2)")


SCHEMA = Schema.of(
    [
        Table("customers", (ID, Column("city", Kind.CATEGORY, "string"), Column("joined", Kind.DATE, "date", False)), ("id",)),
        Table(
            "orders",
            (
                ID,
                Column("customer", Kind.IDENTIFIER, "int64", False),
                decimal("total"),
                Column("quantity", Kind.INTEGER, "int32", False),
                decimal("price"),
                Column("discount", Kind.DECIMAL, "float64"),
                Column("city", Kind.CATEGORY, "string"),
                Column("placed", Kind.TIMESTAMP, "timestamp"),
                Column("changed", Kind.TIMESTAMP, "timestamp"),
            ),
            ("id",),
            foreign_keys=(ForeignKey(("customer",), "customers", ("id",)),),
        ),
    ]
)


def money(values: np.ndarray) -> pa.Array:
    return pa.array(np.round(values, 2)).cast(pa.decimal128(12, 2), safe=False)


@pytest.fixture(scope="module")
def source() -> dict[str, pa.Table]:
    rng = np.random.default_rng(0)
    city = rng.choice([f"town {i}" for i in range(12)], CUSTOMERS)
    customer = np.sort(rng.integers(0, CUSTOMERS, ORDERS))
    quantity, price = rng.integers(1, 9, ORDERS), rng.lognormal(3, 0.9, ORDERS).round(2)
    discount = rng.choice([0, 0.1, 0.25, np.nan], ORDERS)
    total = np.floor(quantity * price * (1 - discount) * 100 + 0.5 + 1e-6) / 100
    placed = pa.array((1_700_000_000 + rng.integers(0, 10**7, ORDERS)) * 10**6, pa.timestamp("us"))
    return {
        "customers": pa.table(
            {
                "id": np.arange(CUSTOMERS),
                "city": pa.array(city),
                "joined": pa.array(rng.integers(18_000, 19_000, CUSTOMERS).astype(np.int32)).cast(pa.date32()),
            }
        ),
        "orders": pa.table(
            {
                "id": np.arange(ORDERS),
                "customer": customer,
                "total": pc.if_else(pa.array(np.isnan(discount)), None, money(np.nan_to_num(total))),
                "quantity": pa.array(quantity, pa.int32()),
                "price": money(price),
                "discount": pa.array(discount, from_pandas=True),
                "city": pa.array(city[customer]),
                "placed": placed,
                "changed": placed,
            }
        ),
    }


@pytest.fixture(scope="module")
def trained(source: dict[str, pa.Table]) -> Model:
    return learn(SCHEMA, source, CONFIG)


@pytest.fixture(scope="module")
def written(trained: Model) -> dict[str, pa.Table]:
    return generate(trained, {"customers": 900}, seed=3)


def floats(orders: pa.Table, name: str) -> np.ndarray:
    return np.array(orders[name].cast(pa.float64()).to_pylist(), float)


def adds_up(orders: pa.Table) -> bool:
    quantity, price, discount = (floats(orders, name) for name in ("quantity", "price", "discount"))
    cents = np.floor(quantity * price * (1 - discount) * 100 + 0.5 + 1e-6)
    return np.array_equal(np.rint(floats(orders, "total") * 100), cents, equal_nan=True)


def test_totals_add_up_in_every_row_nulls_included(written: dict[str, pa.Table]):
    orders = written["orders"]
    assert orders["total"].type == pa.decimal128(12, 2) and 0 < orders["total"].null_count < orders.num_rows / 2
    assert adds_up(orders)


def test_rows_repeat_what_their_parent_says_and_copies_what_is_copied(written: dict[str, pa.Table]):
    orders, customers = written["orders"], written["customers"]
    place = pc.index_in(orders["customer"], value_set=customers["id"].combine_chunks())
    assert orders["city"].to_pylist() == customers["city"].take(place).to_pylist()
    assert orders["changed"].equals(orders["placed"])


def test_results_lie_within_what_protection_lets_through(trained: Model, written: dict[str, pa.Table], source: dict[str, pa.Table]):
    total = next(one for one in trained.tables["orders"].derived if one.column == "total")
    real = pc.min_max(source["orders"]["total"].cast(pa.float64())).as_py()
    assert real["min"] < total.bounds[0] < total.bounds[1] < real["max"]
    twin = pc.min_max(written["orders"]["total"].cast(pa.float64())).as_py()
    assert total.bounds[0] <= twin["min"] and twin["max"] <= total.bounds[1]


def test_results_have_the_sources_distribution(written: dict[str, pa.Table], source: dict[str, pa.Table]):
    real, twin = (np.sort(np.array(side["orders"]["total"].drop_null().cast(pa.float64()))) for side in (source, written))
    grid = np.quantile(real, np.linspace(0.05, 0.95, 19))
    assert np.abs(np.searchsorted(real, grid) / len(real) - np.searchsorted(twin, grid) / len(twin)).max() < 0.08


def narrowed(model: Model, low: float, high: float) -> Model:
    """The model with other bounds of the total."""
    orders = model.tables["orders"]
    derived = [one.within((low, high)) if one.column == "total" else one for one in orders.derived]
    return replace(model, tables={**model.tables, "orders": replace(orders, derived=derived)})


def test_rows_out_of_bounds_get_others_in_full(trained: Model):
    """Half of the rows and more: each has the quantity, price and discount of one that lies within, and adds up."""
    orders = generate(narrowed(trained, 20, 60), seed=3)["orders"]
    assert np.nanmin(floats(orders, "total")) >= 20 and np.nanmax(floats(orders, "total")) <= 60
    assert orders["total"].null_count < orders.num_rows / 2
    assert adds_up(orders)


def test_where_no_row_lies_within_the_formula_holds_all_the_same(trained: Model):
    orders = generate(narrowed(trained, -2, -1), seed=3)["orders"]
    assert np.nanmin(floats(orders, "total")) > 0 and orders["total"].null_count < orders.num_rows / 2
    assert adds_up(orders)


def test_rows_written_or_computed_at_a_time_do_not_change_a_value(trained: Model, written: dict[str, pa.Table], monkeypatch):
    monkeypatch.setattr(computed, "CHUNK", 64)
    again = generate(trained, {"customers": 900}, seed=3, batch_rows=101)
    assert all(again[name].equals(written[name]) for name in written)


def test_children_are_told_what_was_computed_not_what_was_drawn(trained: Model):
    made = Generation(trained, {}, 3).run().tables["orders"]
    encoder = next(c for c in trained.tables["orders"].encoder.columns if c.column.name == "total")
    hidden = len(trained.hidden_sizes("orders"))
    assert np.array_equal(made.tokens[:, hidden + encoder.slots[0]], encoder.encoder.encode(made.columns["total"])[:, 0])


def test_a_model_read_from_disk_computes_the_same(trained: Model, written: dict[str, pa.Table], tmp_path):
    workspace = Workspace(str(tmp_path))
    write_model(trained, workspace)
    read = read_model(workspace)
    assert [table.derived for table in read.tables.values()] == [table.derived for table in trained.tables.values()]
    assert all(table.equals(written[name]) for name, table in generate(read, {"customers": 900}, seed=3).items())


def test_what_follows_from_others_is_said(trained: Model):
    assert trained.rules() == [
        "orders.city: the same as city of its row of customers",
        "orders.changed: the same as placed",
        "orders.total: computed as quantity * price * (1 - discount)",
    ]


def test_what_may_be_written_is_said_by_those_that_settle_it(trained: Model):
    categories = trained.categories()["orders"]
    assert categories["city"] is None and "total" not in categories


def test_no_orders_no_totals(trained: Model):
    assert generate(trained, {"orders": 0, "customers": 5})["orders"].num_rows == 0


def test_no_rows_no_multiples():
    price = np.random.default_rng(0).gamma(2, 40, 300).round(2)
    schema = Schema.of([Table("t", (ID, decimal("price"), decimal("tax")), ("id",))])
    model = learn(schema, {"t": pa.table({"id": np.arange(300), "price": money(price), "tax": money(0.25 * price)})}, CONFIG)
    assert model.rules() == ["t.tax: computed as 0.25 * price"]
    assert generate(model, {"t": 0})["t"].num_rows == 0 and generate(model, {"t": 1})["t"].num_rows == 1


def test_a_format_that_settings_give_goes_before_what_a_column_repeats():
    code = pa.array([f"ab{i:04d}" for i in range(300)])
    text = [Column(name, Kind.TEXT, "string", False) for name in ("login", "code")]
    schema = Schema.of([Table("t", (ID, *text), ("id",))])
    tables = {"t": pa.table({"id": np.arange(300), "login": code, "code": code})}
    settings = {"training": {"size": "small", "max_epochs": 1}, "columns": {"t": {"code": {"kind": "identifier", "pattern": "X-[0-9]{6}"}}}}
    assert all(value.startswith("X-") for value in generate(learn(schema, tables, Config.build(settings)))["t"]["code"].to_pylist())


def test_a_year_of_too_few_is_not_in_the_model():
    """One is born in 1912, all others after 1950: the model knows no name for that year."""
    rng = np.random.default_rng(3)
    born = np.r_[np.datetime64("1912-05-05"), np.datetime64("1950-01-01") + rng.integers(0, 15_000, 399)]
    young = born > np.datetime64("1970-12-31")
    schema = Schema.of([Table("t", (ID, Column("born", Kind.DATE, "date"), Column("age", Kind.CATEGORY, "string")), ("id",))])
    tables = {"t": pa.table({"id": np.arange(400), "born": pa.array(born), "age": pa.array(np.where(young, "young", "old"))})}
    model = learn(schema, tables, CONFIG)
    assert model.rules() == ["t.age: settled by the year of born"]
    assert min(number for number, _ in model.tables["t"].derived[0].names) == 1950
    twin = generate(model)["t"].to_pandas()
    assert ((twin.born.astype("datetime64[s]") > np.datetime64("1970-12-31")) == (twin.age == "young")).all()


def test_where_every_name_is_of_too_few_the_column_is_drawn_as_any_other():
    days = pa.array(np.arange(11_000, 11_000 + 40 * 30, 30).astype(np.int32)).cast(pa.date32())
    label = pa.array([f"year {day.year} of {day.year % 2}" for day in days.to_pylist()])
    schema = Schema.of([Table("t", (ID, Column("day", Kind.DATE, "date"), Column("label", Kind.CATEGORY, "string")), ("id",))])
    settings = {"training": {"size": "small", "max_epochs": 1}, "privacy": {"rare_category_entities": 20}}
    tables = {"t": pa.table({"id": np.arange(40), "day": days, "label": label})}
    assert learn(schema, tables, Config.build(settings)).rules() == []


def test_sums_of_moments_that_are_written_as_numbers_are_days_of_the_calendar():
    """Orders repeat the day their customer joined, stores have the first of these; all are kept as whole numbers."""
    rng = np.random.default_rng(4)
    joined = np.array([int(f"2020{m:02d}{d:02d}") for m, d in zip(rng.integers(1, 13, 100), rng.integers(1, 29, 100), strict=True)])
    customer, store = rng.integers(0, 100, 600), rng.integers(0, 30, 600)
    first = np.full(30, 99_999_999)
    np.minimum.at(first, store, joined[customer])
    day = {name: Column(name, Kind.DATE, "int64") for name in ("joined", "first")}
    keys = [Column(name, Kind.IDENTIFIER, "int64", False) for name in ("customer", "store")]
    schema = Schema.of(
        [
            Table("customers", (ID, day["joined"]), ("id",)),
            Table("stores", (ID, day["first"]), ("id",)),
            Table(
                "orders",
                (ID, *keys, day["joined"]),
                ("id",),
                foreign_keys=(ForeignKey(("customer",), "customers", ("id",)), ForeignKey(("store",), "stores", ("id",))),
            ),
        ]
    )
    tables = {
        "customers": pa.table({"id": np.arange(100), "joined": joined}),
        "stores": pa.table({"id": np.arange(30), "first": first}),
        "orders": pa.table({"id": np.arange(600), "customer": customer, "store": store, "joined": joined[customer]}),
    }
    model = learn(schema, tables, CONFIG)
    assert model.rules() == ["stores.first: min(joined) of its rows of orders", "orders.joined: the same as joined of its row of customers"]
    twin = generate(model)
    found = twin["orders"].to_pandas().groupby("store")["joined"].min()
    stores = twin["stores"].to_pandas().set_index("id")["first"]
    assert (stores.loc[found.index] == found).all() and stores.between(20_200_101, 20_201_231).all()


def test_a_parent_of_no_rows_has_nothing_to_repeat():
    customers = pa.table({"id": pa.array([], pa.int64()), "city": pa.array([], pa.string()), "joined": pa.array([], pa.date32())})
    orders = Schema.of([SCHEMA.tables["customers"], SCHEMA.tables["orders"]]).tables["orders"]
    empty = pa.schema([(c.name, pa.string() if c.data_type == "string" else pa.int64()) for c in orders.columns[:2]])
    schema = Schema.of([SCHEMA.tables["customers"], replace(orders, columns=orders.columns[:2])])
    assert generate(learn(schema, {"customers": customers, "orders": empty.empty_table()}, CONFIG))["orders"].num_rows == 0


def test_a_table_of_dates_says_the_same_day_in_all_columns():
    days = pa.array(np.arange(18_500, 19_400).astype(np.int32)).cast(pa.date32())
    names = {"year": pc.year(days), "month": pc.strftime(days, "%B"), "weekend": pc.greater_equal(pc.day_of_week(days), 5)}
    columns = (
        ID,
        Column("day", Kind.DATE, "date", False),
        Column("year", Kind.INTEGER, "int64", False),
        Column("month", Kind.CATEGORY, "string", False),
        Column("weekend", Kind.BOOLEAN, "boolean", False),
    )
    schema = Schema.of([Table("dates", columns, ("id",))])
    model = learn(schema, {"dates": pa.table({"id": np.arange(900), "day": days, **names})}, CONFIG)
    twin = generate(model, {"dates": 2_000})["dates"]
    found = twin["day"].combine_chunks()
    assert twin["year"].combine_chunks().equals(pc.year(found))
    assert twin["month"].combine_chunks().equals(pc.strftime(found, "%B"))
    assert twin["weekend"].combine_chunks().equals(pc.greater_equal(pc.day_of_week(found), 5))
    assert sorted(model.categories()["dates"]["weekend"]) == [False, True] and model.categories()["dates"]["year"] == []


def test_names_of_too_few_are_not_told():
    """A holiday that two days have is named by none."""
    days = pa.array(np.arange(18_500, 19_400).astype(np.int32)).cast(pa.date32())
    year = pc.year(days).to_pylist()
    label = pa.array(["jubilee" if i < 2 else f"year {y}" for i, y in enumerate([year[2] - 1] * 2 + year[2:])])
    days = pa.array([d if i >= 2 else d.replace(year=d.year - 1) for i, d in enumerate(days.to_pylist())], pa.date32())
    schema = Schema.of(
        [Table("dates", (ID, Column("day", Kind.DATE, "date", False), Column("label", Kind.CATEGORY, "string", False)), ("id",))]
    )
    model = learn(schema, {"dates": pa.table({"id": np.arange(900), "day": days, "label": label})}, CONFIG)
    assert [one.formula for one in model.tables["dates"].derived] == ["year of a"]
    assert "jubilee" not in str(model.tables["dates"].derived)
    assert set(generate(model)["dates"]["label"].to_pylist()) <= set(label.to_pylist()) - {"jubilee"}


def test_what_is_computed_from_a_parents_column_adds_up():
    rng = np.random.default_rng(2)
    price, product, quantity = rng.lognormal(3, 0.5, 50).round(2), rng.integers(0, 50, 1_000), rng.integers(1, 9, 1_000)
    columns = (ID, Column("product", Kind.IDENTIFIER, "int64", False), Column("quantity", Kind.INTEGER, "int64", False))
    schema = Schema.of(
        [
            Table("products", (ID, decimal("price")), ("id",)),
            Table(
                "lines",
                (*columns, decimal("unit_price"), decimal("amount")),
                ("id",),
                foreign_keys=(ForeignKey(("product",), "products", ("id",)),),
            ),
        ]
    )
    lines = {"id": np.arange(1_000), "product": product, "quantity": quantity, "unit_price": money(price[product])}
    lines["amount"] = money(quantity * price[product])
    model = learn(schema, {"products": pa.table({"id": np.arange(50), "price": money(price)}), "lines": pa.table(lines)}, CONFIG)
    twin = generate(model)
    place = pc.index_in(twin["lines"]["product"], value_set=twin["products"]["id"].combine_chunks())
    assert twin["lines"]["unit_price"].to_pylist() == twin["products"]["price"].take(place).to_pylist()
    quantity, price, amount = (floats(twin["lines"], name) for name in ("quantity", "unit_price", "amount"))
    assert np.array_equal(np.rint(amount * 100), np.rint(quantity * price * 100))
    assert model.categories()["lines"] == {"unit_price": None, "amount": None}


def test_what_is_told_as_steps_is_nothing_to_compute_from():
    """A mileage goes on from trip to trip: a row that ends beyond the range could not be drawn again by itself."""
    rng = np.random.default_rng(1)
    trips = 1_200
    car = np.repeat(np.arange(60), trips // 60)
    length = rng.integers(20, 300, trips)
    end = 10_000 * (car + 1) + np.concatenate([np.cumsum(part) for part in np.split(length, 60)])
    columns = (
        ID,
        Column("car", Kind.IDENTIFIER, "int64", False),
        *(Column(c, Kind.INTEGER, "int64", False) for c in ("start", "length", "end")),
    )
    schema = Schema.of(
        [
            Table("cars", (ID, Column("make", Kind.CATEGORY, "string")), ("id",)),
            Table("trips", columns, ("id",), foreign_keys=(ForeignKey(("car",), "cars", ("id",)),)),
        ]
    )
    tables = {
        "cars": pa.table({"id": np.arange(60), "make": pa.array(["a", "b"] * 30)}),
        "trips": pa.table({"id": np.arange(trips), "car": car, "start": end - length, "length": length, "end": end}),
    }
    model = learn(schema, tables, Config.build({"training": {"size": "small", "max_epochs": 1, "device": "cpu"}}))
    assert model.tables["trips"].derived == [] and {"start", "end"} <= model.tables["trips"].references.keys()


def test_a_price_that_rows_of_one_product_share_is_something_to_compute_from():
    rng = np.random.default_rng(13)
    product, quantity = rng.integers(0, 40, 1_200), rng.integers(1, 9, 1_200)
    price = rng.lognormal(3, 0.6, 40).round(2)[product]
    columns = (
        ID,
        Column("product", Kind.IDENTIFIER, "int64", False),
        decimal("price"),
        Column("quantity", Kind.INTEGER, "int64"),
        decimal("total"),
    )
    key = ForeignKey(("product",), "products", ("id",))
    schema = Schema.of([Table("products", (ID,), ("id",)), Table("sales", columns, ("id",), foreign_keys=(key,))])
    sales = {"id": np.arange(1_200), "product": product, "price": money(price), "quantity": quantity, "total": money(price * quantity)}
    model = learn(schema, {"products": pa.table({"id": np.arange(40)}), "sales": pa.table(sales)}, CONFIG)
    assert model.rules() == ["sales.total: computed as price * quantity", "sales.price: the same in all rows of one row of products"]
    twin = generate(model)["sales"]
    assert np.array_equal(np.rint(floats(twin, "total") * 100), np.rint(floats(twin, "price") * floats(twin, "quantity") * 100))
    assert (twin.to_pandas().groupby("product")["price"].nunique() == 1).all()
    assert model.categories()["sales"] == {"total": []}  # it has no bounds, so it is not held against the source's range


def test_rows_out_of_bounds_keep_what_they_can_and_differ_from_one_another():
    """Prices and quantities that come to about a thousand each: most draws of both lie outside."""
    rng = np.random.default_rng(14)
    price = rng.lognormal(3, 1, 2_000).round(2)
    quantity = np.maximum((1_000 / price * rng.lognormal(0, 0.1, 2_000)).round(), 1).astype(int)
    schema = Schema.of([Table("t", (ID, decimal("price"), Column("quantity", Kind.INTEGER, "int64"), decimal("total")), ("id",))])
    tables = {"t": pa.table({"id": np.arange(2_000), "price": money(price), "quantity": quantity, "total": money(price * quantity)})}
    twin = generate(learn(schema, tables, CONFIG))["t"]
    assert np.quantile(floats(twin, "price"), 0.99) > 0.6 * np.quantile(price, 0.99)
    assert twin.to_pandas().duplicated(["price", "quantity"]).mean() < 0.3
    assert floats(twin, "total").min() >= (price * quantity).min() and floats(twin, "total").max() <= (price * quantity).max()


def test_parts_of_a_date_that_repeats_the_parents_are_parts_of_it():
    rng = np.random.default_rng(18)
    day, order = (18_000 + rng.integers(0, 1_500, 200)).astype(np.int32), rng.integers(0, 200, 800)
    placed, month = Column("placed", Kind.DATE, "date", False), Column("month", Kind.INTEGER, "int64")
    lines = (ID, Column("order", Kind.IDENTIFIER, "int64", False), replace(placed, name="placed_on"), month)
    to_order = ForeignKey(("order",), "orders", ("id",))
    schema = Schema.of([Table("orders", (ID, placed), ("id",)), Table("lines", lines, ("id",), foreign_keys=(to_order,))])
    dates = pa.array(day).cast(pa.date32())
    of_line = dates.take(pa.array(order))
    tables = {
        "orders": pa.table({"id": np.arange(200), "placed": dates}),
        "lines": pa.table({"id": np.arange(800), "order": order, "placed_on": of_line, "month": pc.month(of_line)}),
    }
    model = learn(schema, tables, CONFIG)
    assert model.rules() == ["lines.placed_on: the same as placed of its row of orders", "lines.month: the month of placed_on"]
    twin = generate(model)["lines"]
    assert twin["month"].to_pylist() == pc.month(twin["placed_on"]).to_pylist()
