"""Columns and keys in which the rows of one parent do not differ."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.constants import find_constants, first_of_parent
from synth_engine.model.learning import learn
from synth_engine.model.preparation import prepare
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace
from tests.model.conftest import CONFIG, generate


def visits(doctors: int = 40, rows: int = 800) -> tuple[Schema, dict[str, pa.Table]]:
    """Visits to a doctor are in one ward, at one price and by one code, of which the table of doctors knows nothing."""
    rng = np.random.default_rng(5)
    doctor = rng.integers(0, doctors, rows)
    ward, price = rng.choice(["a", "b", "c"], doctors), rng.gamma(2, 40, doctors).round(2)
    columns = (
        Column("id", Kind.IDENTIFIER, "int64", False),
        Column("doctor", Kind.IDENTIFIER, "int64", True),
        Column("ward", Kind.CATEGORY, "string", False),
        Column("price", Kind.DECIMAL, "float64", False),
        Column("code", Kind.TEXT, "string", False),
        Column("minutes", Kind.INTEGER, "int64", False),
    )
    key = ForeignKey(("doctor",), "doctors", ("id",))
    schema = Schema.of([Table("doctors", columns[:1], ("id",)), Table("visits", columns, ("id",), foreign_keys=(key,))])
    data = {
        "id": pa.array(np.arange(rows)),
        "doctor": pa.array(doctor),
        "ward": pa.array(ward[doctor]),
        "price": pa.array(price[doctor]),
        "code": pa.array([f"{d:03d}-{d * 7919 % 1000:03d}" for d in doctor]),
        "minutes": pa.array(rng.integers(5, 90, rows)),
    }
    return schema, {"doctors": pa.table({"id": np.arange(doctors)}), "visits": pa.table(data)}


def constants(schema: Schema, tables: dict[str, pa.Table], fixed: tuple[str, ...] = ()) -> list[str]:
    return [one.column for one in find_constants(prepare(schema, dict(tables), 0)["visits"], fixed)]


def test_columns_in_which_rows_of_one_parent_do_not_differ_are_found():
    schema, tables = visits()
    assert constants(schema, tables) == ["ward", "price", "code"]
    assert constants(schema, tables, ("ward",)) == ["price", "code"]


def test_one_row_that_differs_is_enough():
    schema, tables = visits()
    ward = tables["visits"]["ward"].to_pylist()
    ward[3] = next(other for other in "abc" if other != ward[3])
    place = tables["visits"].column_names.index("ward")
    assert constants(schema, {**tables, "visits": tables["visits"].set_column(place, "ward", pa.array(ward))}) == ["price", "code"]


def test_parents_of_hardly_more_than_one_row_prove_nothing():
    schema, tables = visits(doctors=60, rows=24)
    assert constants(schema, tables) == []


def test_the_first_row_of_each_parent_stands_for_the_others():
    assert first_of_parent(np.array([2, -1, 0, 2, -1, 0])).tolist() == [0, 1, 2, 0, 4, 2]
    assert first_of_parent(np.zeros(0, np.int64)).tolist() == []


def test_rows_of_one_parent_share_in_the_twin_what_they_share_in_the_source(tmp_path):
    schema, tables = visits()
    model = learn(schema, tables, CONFIG)
    workspace = Workspace(str(tmp_path))
    write_model(model, workspace)
    twins = [generate(model, {"doctors": 100}, batch_rows=10**6), generate(read_model(workspace), {"doctors": 100}, batch_rows=33)]
    assert all(twins[0][name].equals(twins[1][name]) for name in twins[0])
    found = twins[0]["visits"].to_pandas().groupby("doctor").nunique()
    assert (found[["ward", "price", "code"]] == 1).all(axis=None) and (found["minutes"] > 1).any()
    assert twins[0]["visits"]["price"].to_pandas().nunique() > 30
    assert model.rules() == [f"visits.{name}: the same in all rows of one row of doctors" for name in ("ward", "price", "code")]


def test_rows_without_a_parent_have_values_of_their_own():
    schema, tables = visits()
    doctor = pa.array([None if i % 4 == 0 else value for i, value in enumerate(tables["visits"]["doctor"].to_pylist())])
    tables["visits"] = tables["visits"].set_column(1, "doctor", doctor)
    twin = generate(learn(schema, tables, CONFIG))["visits"].to_pandas()
    assert (twin.dropna().groupby("doctor")["ward"].nunique() == 1).all()
    assert twin[twin["doctor"].isna()]["price"].nunique() > 20


def test_of_two_rules_for_one_column_what_rows_share_goes_first():
    """A seller is in one region and sells in its cities: the region cannot follow the city of each row."""
    rng = np.random.default_rng(6)
    seller, region = rng.integers(0, 40, 2_000), rng.integers(0, 4, 40)
    city = 10 * region[seller] + rng.integers(0, 10, 2_000)
    columns = [Column(name, Kind.CATEGORY, "string", False) for name in ("city", "region")]
    schema, tables = visits()
    visit = schema.tables["visits"]
    sales = Table("visits", (*visit.columns[:2], *columns), ("id",), foreign_keys=visit.foreign_keys)
    tables["visits"] = pa.table(
        {
            "id": np.arange(2_000),
            "doctor": seller,
            "city": pa.array([f"c{c}" for c in city]),
            "region": pa.array([f"r{r}" for r in region[seller]]),
        }
    )
    model = learn(Schema.of([schema.tables["doctors"], sales]), tables, CONFIG)
    assert model.rules() == ["visits.region: the same in all rows of one row of doctors"]
    assert (generate(model)["visits"].to_pandas().groupby("doctor")["region"].nunique() == 1).all()


def test_what_rows_share_settles_the_same_for_all_of_them():
    schema, tables = visits(doctors=150, rows=1_500)
    ward = tables["visits"]["ward"].to_pylist()
    building = Column("building", Kind.CATEGORY, "string", False)
    visit = schema.tables["visits"]
    wider = Table("visits", (*visit.columns, building), ("id",), foreign_keys=visit.foreign_keys)
    tables["visits"] = tables["visits"].append_column("building", pa.array(["north" if w == "a" else "south" for w in ward]))
    twin = generate(learn(Schema.of([schema.tables["doctors"], wider]), tables, CONFIG))["visits"].to_pandas()
    assert (twin.groupby("doctor")[["ward", "building"]].nunique() == 1).all(axis=None)
    assert ((twin["ward"] == "a") == (twin["building"] == "north")).all()


def test_of_two_keys_the_one_of_fewest_parents_explains_the_other():
    """All lines of an order come from one warehouse, in one city each: the city is the warehouse's."""
    rng = np.random.default_rng(17)
    order = np.sort(rng.integers(0, 200, 900))
    warehouse = rng.integers(0, 12, 200)[order]
    city = Column("city", Kind.CATEGORY, "string", False)
    ids, *keys = (Column(name, Kind.IDENTIFIER, "int64", False) for name in ("id", "order", "warehouse"))
    to = tuple(ForeignKey((name,), f"{name}s", ("id",)) for name in ("order", "warehouse"))
    lines = Table("visits", (ids, *keys, city), ("id",), foreign_keys=to)
    schema = Schema.of([Table("orders", (ids,), ("id",)), Table("warehouses", (ids,), ("id",)), lines])
    towns = pa.array([f"town {w % 5}" for w in warehouse])
    tables = {
        "orders": pa.table({"id": np.arange(200)}),
        "warehouses": pa.table({"id": np.arange(12)}),
        "visits": pa.table({"id": np.arange(900), "order": order, "warehouse": warehouse, "city": towns}),
    }
    model = learn(schema, tables, CONFIG)
    assert model.rules() == [
        "visits.city: the same in all rows of one row of warehouses",
        "visits.warehouse->warehouses: the same in all rows of one row of orders",
    ]
    twin = generate(model)["visits"].to_pandas()
    assert (twin.groupby("warehouse")["city"].nunique() == 1).all() and (twin.groupby("order")["warehouse"].nunique() == 1).all()


# -- keys ----------------------------------------------------------------------------------------------------------------


def trips(shapes: int = 120, rows: int = 2_400, null: bool = False) -> tuple[Schema, dict[str, pa.Table]]:
    """Trips along shapes, all of a shape are of one route, or of `null`, and of one company, which is the route's; drivers drive any."""
    rng = np.random.default_rng(8)
    shape = np.sort(rng.integers(0, shapes, rows))
    route = rng.integers(0, 20, shapes)[shape]
    company = rng.integers(0, 4, 20)[route]
    keys = ("shape", "route", "company", "driver")
    sizes = (shapes, 20, 4, 30)
    ids = Column("id", Kind.IDENTIFIER, "int64", False)
    columns = (ids, *(Column(name, Kind.IDENTIFIER, "int64", name == "route" and null) for name in keys), _minutes())
    to = tuple(ForeignKey((name,), f"{name}s", ("id",)) for name in keys)
    parents = [Table(f"{name}s", (ids,), ("id",)) for name in keys]
    data = {f"{name}s": pa.table({"id": np.arange(size)}) for name, size in zip(keys, sizes, strict=True)}
    routes = pa.array(route, mask=null & (route < 6))
    links = {"shape": shape, "route": routes, "company": company, "driver": rng.integers(0, 30, rows)}
    data["trips"] = pa.table({"id": np.arange(rows), **links, "minutes": rng.integers(5, 90, rows) + 3 * route})
    return Schema.of([*parents, Table("trips", columns, ("id",), foreign_keys=to)]), data


def _minutes() -> Column:
    return Column("minutes", Kind.INTEGER, "int64", False)


def settled(schema: Schema, tables: dict[str, pa.Table]) -> dict[str, str]:
    """By column the key that is settled, and what settles it."""
    one = prepare(schema, dict(tables), 0)["trips"]
    return {one.keys[i].columns[0]: one.keys[by[0]].columns[0] for i, by in one.settled_by.items()}


def with_key(tables: dict[str, pa.Table], name: str, values: list[int | None]) -> dict[str, pa.Table]:
    place = tables["trips"].column_names.index(name)
    return {**tables, "trips": tables["trips"].set_column(place, name, pa.array(values))}


def test_keys_that_another_settles_are_found_each_by_the_one_of_fewest_parents():
    schema, tables = trips()
    assert settled(schema, tables) == {"route": "shape", "company": "route"}


def test_one_row_of_another_parent_is_enough_for_a_key_not_to_be_settled():
    schema, tables = trips()
    route = tables["trips"]["route"].to_pylist()
    route[3] = (route[3] + 1) % 20
    assert "route" not in settled(schema, with_key(tables, "route", route))


def test_rows_of_hardly_more_than_one_to_a_parent_settle_nothing():
    schema, tables = trips(shapes=400, rows=400)
    some = tables["trips"].slice(0, 30)
    assert "route" not in settled(schema, {**tables, "trips": some})


def test_unique_keys_and_those_that_share_columns_are_not_settled():
    schema, tables = trips()
    trip = schema.tables["trips"]
    unique = Table("trips", trip.columns, ("id",), unique=(("route", "id"),), foreign_keys=trip.foreign_keys)
    others = [schema.tables[name] for name in schema.tables if name != "trips"]
    assert settled(Schema.of([*others, unique]), tables) == {"company": "route"}


def test_what_keys_settle_holds_in_the_twin_and_parents_have_about_as_many_rows(tmp_path):
    schema, tables = trips()
    model = learn(schema, tables, CONFIG)
    workspace = Workspace(str(tmp_path))
    write_model(model, workspace)
    twins = [generate(model, {"trips": 3_000}, batch_rows=10**6), generate(read_model(workspace), {"trips": 3_000}, batch_rows=33)]
    assert all(twins[0][name].equals(twins[1][name]) for name in twins[0])
    twin, real = twins[0]["trips"].to_pandas(), tables["trips"].to_pandas()
    assert (twin.groupby("shape")["route"].nunique() == 1).all() and (twin.groupby("route")["company"].nunique() == 1).all()
    assert (twin.groupby("shape")["driver"].nunique() > 1).any()
    sizes = [np.sort(frame["route"].value_counts().to_numpy())[::-1] / len(frame) for frame in (real, twin)]
    assert abs(len(sizes[0]) - len(sizes[1])) <= 2
    assert np.abs(np.resize(sizes[0], 18) - np.resize(sizes[1], 18)).max() < 0.04


def test_rows_that_a_key_leads_nowhere_from_are_all_of_some_parents():
    schema, tables = trips(null=True)
    model = learn(schema, tables, CONFIG)
    assert "trips.route->routes: the same in all rows of one row of shapes" in model.rules()
    twin = generate(model)["trips"].to_pandas()
    assert (twin.groupby("shape")["route"].nunique(dropna=False) == 1).all()
    assert (twin.groupby("shape")["company"].nunique() == 1).all() and (twin.groupby("route")["company"].nunique() == 1).all()
    real = tables["trips"].to_pandas()["route"]
    assert abs(twin["route"].isna().mean() - real.isna().mean()) < 0.05


def test_rows_may_change_places_along_the_key_that_settles_another():
    """A line's product is once in its order; all lines of a product come from one supplier."""
    rng = np.random.default_rng(9)
    pairs = np.unique(np.stack([rng.integers(0, 100, 900), rng.integers(0, 30, 900)], axis=1), axis=0)
    supplier = rng.integers(0, 6, 30)[pairs[:, 1]]
    ids = Column("id", Kind.IDENTIFIER, "int64", False)
    keys = ("order", "product", "supplier")
    columns = (*(Column(name, Kind.IDENTIFIER, "int64", False) for name in keys), _minutes())
    to = tuple(ForeignKey((name,), f"{name}s", ("id",)) for name in keys)
    lines = Table("trips", columns, ("order", "product"), foreign_keys=to)
    data = {f"{name}s": pa.table({"id": np.arange(size)}) for name, size in zip(keys, (100, 30, 6), strict=True)}
    data["trips"] = pa.table(
        {"order": pairs[:, 0], "product": pairs[:, 1], "supplier": supplier, "minutes": rng.integers(5, 90, len(pairs))}
    )
    schema = Schema.of([*(Table(f"{name}s", (ids,), ("id",)) for name in keys), lines])
    assert settled(schema, data) == {"supplier": "product"}
    twin = generate(learn(schema, data, CONFIG))["trips"].to_pandas()
    assert not twin.duplicated(["order", "product"]).any()
    assert (twin.groupby("product")["supplier"].nunique() == 1).all()


def purchases() -> tuple[Schema, dict[str, pa.Table]]:
    """Purchases by cards, each a customer's of own tastes."""
    rng = np.random.default_rng(3)
    card = np.sort(rng.integers(0, 300, 3_000))
    customer, taste = (card // 3), rng.normal(0, 10, 100).round(2)
    ids = Column("id", Kind.IDENTIFIER, "int64", False)
    keys = ("card", "customer")
    columns = (ids, *(Column(name, Kind.IDENTIFIER, "int64", True) for name in keys), Column("price", Kind.DECIMAL, "float64", False))
    to = tuple(ForeignKey((name,), f"{name}s", ("id",)) for name in keys)
    data = {f"{name}s": pa.table({"id": np.arange(size)}) for name, size in zip(keys, (300, 100), strict=True)}
    price = taste[customer] + rng.normal(0, 0.1, 3_000)
    data["trips"] = pa.table({"id": np.arange(3_000), "card": card, "customer": customer, "price": price})
    return Schema.of([*(Table(f"{name}s", (ids,), ("id",)) for name in keys), Table("trips", columns, ("id",), foreign_keys=to)]), data


def test_entities_are_as_wide_as_if_nothing_were_settled():
    """All of a customer's purchases are one entity, by whichever of the customer's cards: which customer a card is of is settled."""
    prepared = prepare(*purchases(), 0)
    one = prepared["trips"]
    assert (one.settled_by, one.owner, one.part_of) == ({1: (0,)}, 0, 1)
    assert (one.entity == prepared["customers"].entity[one.parents[1]]).all()
    assert (one.held_out == prepared["customers"].held_out[one.parents[1]]).all()


def test_a_key_to_entities_that_some_rows_have_none_of_stays_the_owner():
    schema, tables = purchases()
    nobody = pa.array([None if value < 1 else value for value in tables["trips"]["customer"].to_pylist()])
    one = prepare(schema, with_key(tables, "customer", nobody.to_pylist()), 0)["trips"]
    assert (one.settled_by, one.owner, one.part_of) == ({}, 1, 1)


def test_what_rows_share_comes_as_often_counted_in_rows_as_in_the_source():
    """Half of the visits are to four doctors."""
    schema, tables = visits()
    rng = np.random.default_rng(2)
    doctor = np.sort(np.r_[rng.integers(0, 4, 400), rng.integers(4, 40, 400)])
    ward = np.where(np.arange(40) % 2 == 0, "a", "b")
    for place, name, values in ((1, "doctor", doctor), (2, "ward", ward[doctor])):
        tables["visits"] = tables["visits"].set_column(place, name, pa.array(values))
    model = learn(schema, tables, CONFIG)
    shares = [np.mean(generate(model, seed=seed)["visits"]["ward"].to_numpy() == "a") for seed in range(12)]
    assert np.std(shares) < 0.09  # .06; .14 where each doctor counts alike
