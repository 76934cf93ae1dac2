"""Two ways to the same row lead there in the twin, too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from synth_engine.config import Config
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.generation import Generation
from synth_engine.model.learning import learn
from synth_engine.model.paths import Path, find_paths, led, with_errors_mended
from synth_engine.model.state import Model
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace
from tests.model.conftest import CONFIG, generate

CUSTOMERS, STORES, ORDERS, LINES = 150, 12, 600, 2_000
ID = Column("id", Kind.IDENTIFIER, "int64", False)
AMOUNT = Column("amount", Kind.DECIMAL, "float64")


def key(name: str) -> Column:
    return Column(name, Kind.IDENTIFIER, "int64", True)


def to(column: str, parent: str) -> ForeignKey:
    return ForeignKey((column,), parent, ("id",))


SCHEMA = Schema.of(
    [
        Table("customers", (ID, Column("country", Kind.CATEGORY, "string")), ("id",)),
        Table("stores", (ID, Column("size", Kind.CATEGORY, "string")), ("id",)),
        Table(
            "orders",
            (ID, key("customer"), key("store"), AMOUNT),
            ("id",),
            foreign_keys=(to("customer", "customers"), to("store", "stores")),
        ),
        Table(
            "lines",
            (ID, key("customer"), key("order"), key("store"), AMOUNT),
            ("id",),
            foreign_keys=(to("customer", "customers"), to("order", "orders"), to("store", "stores")),
        ),
    ]
)
CUSTOMER, STORE = Path("lines", 1, 0, 0), Path("lines", 1, 2, 1)


def source() -> dict[str, pa.Table]:
    """Lines of an order have its customer, and a store of their own."""
    rng = np.random.default_rng(0)
    order = np.sort(rng.integers(0, ORDERS, LINES))
    of_order = rng.integers(0, CUSTOMERS, ORDERS)
    return {
        "customers": pa.table({"id": np.arange(CUSTOMERS), "country": pa.array(rng.choice(["a", "b", "c"], CUSTOMERS))}),
        "stores": pa.table({"id": np.arange(STORES), "size": pa.array(rng.choice(["s", "m"], STORES))}),
        "orders": pa.table(
            {"id": np.arange(ORDERS), "customer": of_order, "store": rng.integers(0, STORES, ORDERS), "amount": rng.gamma(2, 9, ORDERS)}
        ),
        "lines": pa.table(
            {
                "id": np.arange(LINES),
                "customer": of_order[order],
                "order": order,
                "store": rng.integers(0, STORES, LINES),
                "amount": rng.gamma(2, 9, LINES),
            }
        ),
    }


def changed(name: str, column: str, values: np.ndarray | pa.Array) -> dict[str, pa.Table]:
    tables = source()
    return {**tables, name: tables[name].set_column(tables[name].column_names.index(column), column, pa.array(values))}


def column(name: str, of: str) -> np.ndarray:
    return source()[name][of].to_numpy()


# -- what is found


def test_a_key_that_leads_where_the_parents_leads_is_found_and_others_are_not():
    assert find_paths(SCHEMA, source()) == [CUSTOMER]
    assert CUSTOMER.says(SCHEMA) == "lines.customer->customers leads to the same row as by way of orders"


def test_two_keys_may_lead_there_by_way_of_the_same_parent():
    tables = changed("lines", "store", column("orders", "store")[column("lines", "order")])
    assert find_paths(SCHEMA, tables) == [CUSTOMER, STORE]
    assert led([CUSTOMER, STORE], "lines") == {0, 2} and not led([CUSTOMER, STORE], "orders")


def test_one_row_in_a_thousand_may_be_an_error_and_is_mended():
    customer = column("lines", "customer").copy()
    customer[7] = (customer[7] + 1) % CUSTOMERS
    tables = changed("lines", "customer", customer)
    assert find_paths(SCHEMA, tables) == [CUSTOMER]
    assert with_errors_mended(SCHEMA, tables, [CUSTOMER])["lines"].equals(source()["lines"])
    customer[:3] = (customer[:3] + 1) % CUSTOMERS
    assert find_paths(SCHEMA, changed("lines", "customer", customer)) == []


def test_a_customer_that_is_missing_one_way_only_is_an_error():
    customer = column("lines", "customer").tolist()
    assert find_paths(SCHEMA, changed("lines", "customer", pa.array([None, *customer[1:]]))) == [CUSTOMER]
    assert find_paths(SCHEMA, changed("lines", "customer", pa.array([None] * 60 + customer[60:]))) == []


def of_guests() -> dict[str, pa.Table]:
    """A fifth of the orders have no customer, nor do their lines."""
    tables = source()
    guest = np.arange(ORDERS) % 5 == 0
    for name, without in (("orders", guest), ("lines", guest[column("lines", "order")])):
        place = tables[name].column_names.index("customer")
        tables[name] = tables[name].set_column(place, "customer", pa.array(column(name, "customer"), mask=without))
    return tables


def test_where_both_ways_lead_nowhere_they_agree():
    assert find_paths(SCHEMA, of_guests()) == [CUSTOMER]
    twin = generate(learn(SCHEMA, of_guests(), CONFIG))
    assert agree(twin) and abs(twin["lines"]["customer"].null_count / LINES - 0.2) < 0.05


def test_a_customer_that_must_be_there_is_not_found_by_way_of_orders_that_may_have_none():
    """Orders of guests have no lines in the source, but may have some in the twin."""
    lines = SCHEMA.tables["lines"]
    required = replace(lines, columns=tuple(replace(c, nullable=False) for c in lines.columns))
    empty = np.setdiff1d(np.arange(ORDERS), column("lines", "order"))
    customer = pa.array(column("orders", "customer"), mask=np.isin(np.arange(ORDERS), empty))
    tables = changed("orders", "customer", customer)
    assert len(empty) and find_paths(SCHEMA, tables) == [CUSTOMER]
    assert find_paths(Schema({**SCHEMA.tables, "lines": required}), tables) == []


def test_rows_without_an_order_have_a_customer_of_their_own():
    order = pa.array([None if i % 9 == 0 else value for i, value in enumerate(column("lines", "order").tolist())])
    assert find_paths(SCHEMA, changed("lines", "order", order)) == [CUSTOMER]


def test_a_handful_of_orders_agree_by_chance():
    order = np.repeat(np.arange(4), LINES // 4)
    tables = changed("lines", "order", order)
    tables = {**tables, "customers": source()["customers"].slice(0, 2)}
    for name, at in (("orders", np.arange(ORDERS)), ("lines", order)):
        place = tables[name].column_names.index("customer")
        tables[name] = tables[name].set_column(place, "customer", pa.array(at % 2))
    assert find_paths(SCHEMA, tables) == []


def test_keys_that_share_columns_already_and_those_of_orphans_are_left_as_they_are():
    lines = SCHEMA.tables["lines"]
    shared = replace(lines, foreign_keys=(*lines.foreign_keys, ForeignKey(("customer",), "stores", ("id",))))
    broken = replace(lines, foreign_keys=(replace(lines.foreign_keys[0], orphan_share=0.1), *lines.foreign_keys[1:]))
    unique = replace(lines, unique=(("customer", "id"),))
    for table in (shared, broken, unique):
        assert find_paths(Schema({**SCHEMA.tables, "lines": table}), source()) == []


def test_a_chain_of_ways_shares_the_columns_of_its_links_only():
    """A shipment's line and order and customer: the order is the line's, the customer the order's."""
    shipments = Table(
        "shipments",
        (ID, key("line"), key("order"), key("customer")),
        ("id",),
        foreign_keys=(to("line", "lines"), to("order", "orders"), to("customer", "customers")),
    )
    schema = Schema({**SCHEMA.tables, "shipments": shipments})
    line = np.arange(0, LINES, 2)
    tables = source()
    tables["shipments"] = pa.table(
        {
            "id": np.arange(len(line)),
            "line": line,
            "order": column("lines", "order")[line],
            "customer": column("lines", "customer")[line],
        }
    )
    paths = find_paths(schema, tables)
    assert [path.says(schema) for path in paths if path.child == "shipments"] == [
        "shipments.order->orders leads to the same row as by way of lines",
        "shipments.customer->customers leads to the same row as by way of lines",
    ]
    twin = generate(learn(schema, tables, CONFIG))
    at = pc.index_in(twin["shipments"]["line"], value_set=twin["lines"]["id"].combine_chunks())
    for name in ("order", "customer"):
        assert twin["shipments"][name].to_pylist() == twin["lines"][name].take(at).to_pylist()


def test_errors_of_parents_are_mended_before_those_of_children():
    """A basket's customer stands in its orders and their lines: one order in error takes its lines along, whatever the order of tables."""
    baskets = Table("baskets", (ID, key("customer")), ("id",), foreign_keys=(to("customer", "customers"),))
    orders = SCHEMA.tables["orders"]
    longer = replace(orders, columns=(*orders.columns, key("basket")), foreign_keys=(*orders.foreign_keys, to("basket", "baskets")))
    tables = source()
    basket = np.arange(ORDERS) // 2
    owner = column("orders", "customer")[::2]
    lines = owner[basket][column("lines", "order")]
    wrong = owner[basket].copy()
    wrong[11 if 11 in column("lines", "order") else 12] = 0
    tables["baskets"] = pa.table({"id": np.arange(ORDERS // 2), "customer": owner})
    tables["orders"] = tables["orders"].set_column(1, "customer", pa.array(owner[basket])).append_column("basket", pa.array(basket))
    tables["lines"] = tables["lines"].set_column(1, "customer", pa.array(lines))
    schema = Schema({"customers": SCHEMA.tables["customers"], "stores": SCHEMA.tables["stores"], "lines": SCHEMA.tables["lines"]})
    schema = Schema({**schema.tables, "orders": longer, "baskets": baskets})
    paths = find_paths(schema, tables)
    assert paths == [Path("orders", 2, 0, 0), Path("lines", 1, 0, 0)]
    tables["orders"] = tables["orders"].set_column(1, "customer", pa.array(wrong))
    mended = with_errors_mended(schema, tables, paths)
    assert mended["orders"]["customer"].to_pylist() == owner[basket].tolist()
    assert mended["lines"]["customer"].to_pylist() == lines.tolist()


# -- twins


def agree(twin: dict[str, pa.Table]) -> bool:
    at = pc.index_in(twin["lines"]["order"], value_set=twin["orders"]["id"].combine_chunks())
    theirs = twin["orders"]["customer"].take(at)
    return twin["lines"]["customer"].filter(at.is_valid()).to_pylist() == theirs.filter(at.is_valid()).to_pylist()


@pytest.fixture(scope="module")
def trained() -> Model:
    return learn(SCHEMA, source(), CONFIG)


def test_a_lines_customer_is_its_orders_in_every_row(trained: Model):
    twin = generate(trained, {"customers": 400}, seed=2)
    assert agree(twin) and twin["lines"].num_rows > 5_000
    assert not twin["lines"]["customer"].null_count and len(twin["lines"]["store"].unique()) > 10


def test_as_many_lines_an_order_and_orders_a_customer_as_in_the_source(trained: Model):
    twin = generate(trained)
    for name, by in (("lines", "order"), ("orders", "customer")):
        real, made = (np.sort(side[name][by].value_counts().field(1).to_numpy()) for side in (source(), twin))
        assert abs(real.mean() - made.mean()) < 0.1 and abs(real.std() - made.std()) < 0.3


def test_a_model_read_from_disk_knows_the_ways(trained: Model, tmp_path):
    workspace = Workspace(str(tmp_path))
    write_model(trained, workspace)
    read = read_model(workspace)
    assert read.paths == [CUSTOMER]
    assert read.rules() == ["lines.customer->customers leads to the same row as by way of orders"]
    assert all(table.equals(generate(trained)[name]) for name, table in generate(read).items())


def test_the_twins_schema_is_the_sources(trained: Model):
    assert trained.twin == SCHEMA and generate(trained)["lines"].column_names == list(SCHEMA.tables["lines"].column_names)


def test_lines_without_an_order_keep_their_share(trained: Model):
    order = pa.array([None if i % 9 == 0 else value for i, value in enumerate(column("lines", "order").tolist())])
    twin = generate(learn(SCHEMA, changed("lines", "order", order), CONFIG))
    assert agree(twin) and abs(twin["lines"]["order"].null_count / twin["lines"].num_rows - 1 / 9) < 0.01
    assert not twin["lines"]["customer"].null_count


@pytest.mark.parametrize("kept", [["customers"], ["customers", "orders", "stores"]])
def test_kept_tables_are_led_to_in_both_ways(kept: list[str]):
    model = learn(SCHEMA, source(), Config.build({"training": {"size": "small", "max_epochs": 1, "device": "cpu"}, "keep": kept}))
    made = Generation(model, {}, 0, kept={name: source()[name] for name in kept}).run()
    assert model.paths == [CUSTOMER] and agree({name: pa.Table.from_batches(made.batches(name, 10**6)) for name in model.tables})


def test_the_sources_own_graph_needs_no_ways():
    settings = {"training": {"size": "small", "max_epochs": 1, "device": "cpu"}, "structure": "original"}
    model = learn(SCHEMA, source(), Config.build(settings))
    assert model.paths == [] and agree(generate(model))


def test_what_rows_are_swapped_along_leads_on_to_the_same_row():
    """A product is once in an order, which rows change places for; a line's supplier is its product's all the same."""
    rng = np.random.default_rng(9)
    pairs = np.unique(np.stack([rng.integers(0, 100, 1_200), rng.integers(0, 30, 1_200)], axis=1), axis=0)
    supplier = rng.integers(0, 6, 30)
    ids, minutes = Column("id", Kind.IDENTIFIER, "int64", False), Column("minutes", Kind.INTEGER, "int64", False)
    order, product, by = (Column(name, Kind.IDENTIFIER, "int64", False) for name in ("order", "product", "supplier"))
    to = {c.name: ForeignKey((c.name,), f"{c.name}s", ("id",)) for c in (order, product, by)}
    schema = Schema.of(
        [
            Table("orders", (ids,), ("id",)),
            Table("suppliers", (ids,), ("id",)),
            Table("products", (ids, by), ("id",), foreign_keys=(to["supplier"],)),
            Table("lines", (order, product, by, minutes), ("order", "product"), foreign_keys=tuple(to.values())),
        ]
    )
    lines = {"order": pairs[:, 0], "product": pairs[:, 1], "supplier": supplier[pairs[:, 1]], "minutes": rng.integers(5, 90, len(pairs))}
    tables = {"orders": pa.table({"id": np.arange(100)}), "suppliers": pa.table({"id": np.arange(6)})}
    tables |= {"products": pa.table({"id": np.arange(30), "supplier": supplier}), "lines": pa.table(lines)}
    model = learn(schema, tables, CONFIG)
    assert [path.says(schema) for path in model.paths] == ["lines.supplier->suppliers leads to the same row as by way of products"]
    twin = generate(model)
    at = pc.index_in(twin["lines"]["product"], value_set=twin["products"]["id"].combine_chunks())
    assert twin["lines"]["supplier"].to_pylist() == twin["products"]["supplier"].take(at).to_pylist()
    assert len(set(zip(*(twin["lines"][c].to_pylist() for c in ("order", "product")), strict=True))) == twin["lines"].num_rows
