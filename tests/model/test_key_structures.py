"""Keys of every shape: whatever schema is learned, the twin breaks none of its keys, and the shapes stay what they are."""

from __future__ import annotations

import datetime
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError, Terminal
from synth_engine.model.learning import learn
from synth_engine.schema import Column, ForeignKey, Schema, Table
from synth_engine.schema.types import default_kind, to_arrow
from tests.model.conftest import generate
from tests.model.random_schemas import Source, faults, sources

QUICK = Config.build({"training": {"size": "small", "max_epochs": 1, "device": "cpu"}})
ORIGINAL = QUICK.model_copy(update={"structure": "original"})
Rows = list[dict[str, Any]]


@pytest.mark.slow
@settings(max_examples=500, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(sources(), st.integers(0, 3))
def test_no_key_of_any_schema_is_broken_in_its_twin(source: Source, seed: int) -> None:
    made = generate(learn(source.schema, source.tables, QUICK), seed=seed)
    assert not faults(source.schema, made)
    assert {name: t.num_rows for name, t in made.items()} == {name: t.num_rows for name, t in source.tables.items()}


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(sources(), st.integers(0, 3))
def test_no_key_is_broken_where_the_links_are_the_source_s(source: Source, seed: int) -> None:
    try:
        model = learn(source.schema, source.tables, ORIGINAL)
    except ConfigurationError:  # two rows decide a column that no table stands behind
        reject()
    made = generate(model, seed=seed)
    assert not faults(source.schema, made)
    assert {name: t.num_rows for name, t in made.items()} == {name: t.num_rows for name, t in source.tables.items()}


@settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(sources(most_tables=4), st.sampled_from([2, 3]))
def test_more_rows_of_a_table_without_parents_break_no_key(source: Source, times: int) -> None:
    root = source.schema.parents_first()[0]
    wanted = times * source.tables[root].num_rows
    model = learn(source.schema, source.tables, QUICK)
    try:
        made = generate(model, {root: wanted})
    except Terminal:  # its children grow along, and other parents may not bear so many
        reject()
    assert not faults(source.schema, made)
    assert made[root].num_rows == wanted


# -- shapes --------------------------------------------------------------------------------------------------------------


def table(name: str, columns: str, primary: str = "", keys: dict[str, str] | None = None, unique: str = "") -> Table:
    """`columns` are `name:type`, with a `?` where null is allowed; `keys` map `a b` to `parent(x y)`."""
    made = []
    for column in columns.split():
        called, data_type = column.removesuffix("?").split(":")
        made.append(Column(called, default_kind(data_type), data_type, column.endswith("?")))
    foreign = []
    for own, target in (keys or {}).items():
        parent, _, theirs = target.removesuffix(")").partition("(")
        foreign.append(ForeignKey(tuple(own.split()), parent, tuple(theirs.split())))
    return Table(name, tuple(made), tuple(primary.split()), (tuple(unique.split()),) if unique else (), tuple(foreign))


def twin(tables: list[Table], rows: dict[str, Rows]) -> dict[str, Rows]:
    """The rows of the twin, which breaks no key."""
    schema = Schema.of(tables)
    real = {
        name: pa.table({c.name: pa.array([r[c.name] for r in rows[name]], to_arrow(c.data_type)) for c in t.columns})
        for name, t in schema.tables.items()
    }
    assert not faults(schema, real)
    made = generate(learn(schema, real, QUICK))
    assert not faults(schema, made)
    assert {name: t.num_rows for name, t in made.items()} == {name: len(r) for name, r in rows.items()}
    return {name: t.to_pylist() for name, t in made.items()}


def tenants(count: int = 8) -> tuple[Table, Rows]:
    return table("tenants", "id:int32", "id"), [{"id": t} for t in range(count)]


def depths(rows: Rows, own: str, up: str) -> Counter[int]:
    parent = {r[own]: r[up] for r in rows}
    found: Counter[int] = Counter()
    for at in parent:
        depth = 0
        while parent[at] is not None and parent[at] != at:
            at, depth = parent[at], depth + 1
        found[depth] += 1
    return found


def test_keys_that_share_a_tenant_agree_in_every_row_and_an_implied_key_holds():
    rng = np.random.default_rng(0)
    tenant, tenant_rows = tenants()
    parts = [table(name, "tenant:int32 id:int64", "tenant id", {"tenant": "tenants(id)"}) for name in ("customers", "products")]
    sales = table(
        "sales",
        "tenant:int32 customer:int64 product:int64 amount:int32",
        keys={"tenant": "tenants(id)", "tenant customer": "customers(tenant id)", "tenant product": "products(tenant id)"},
    )
    own = [{"tenant": i % 8, "id": i // 8} for i in range(60)]
    sold = [{"tenant": int(t), "customer": int(c), "product": int(p), "amount": 1} for t, c, p in rng.integers(0, 7, (120, 3))]
    made = twin([tenant, *parts, sales], {"tenants": tenant_rows, "customers": own, "products": own, "sales": sold})
    assert len({r["tenant"] for r in made["sales"]}) > 4


def test_a_date_of_a_key_is_an_ordinary_value_of_the_parent():
    rng = np.random.default_rng(0)
    start = datetime.date(2020, 1, 1)
    weather = [{"place": p, "day": start + datetime.timedelta(days=d), "sun": int(rng.integers(0, 9))} for p in "ABC" for d in range(30)]
    chosen = [weather[i] for i in rng.integers(0, 90, 150)]
    made = twin(
        [
            table("weather", "place:string day:date sun:int32", "place day"),
            table("flights", "id:int64 place:string day:date", "id", {"place day": "weather(place day)"}),
        ],
        {"weather": weather, "flights": [{"id": i, "place": w["place"], "day": w["day"]} for i, w in enumerate(chosen)]},
    )
    assert len({(r["place"], r["day"]) for r in made["flights"]}) > 40


def test_a_key_that_is_partly_null_stays_partly_null():
    tenant, tenant_rows = tenants()
    offices = [{"tenant": i % 8, "id": i // 8} for i in range(40)]
    staff = [
        {"tenant": None, "office": None}
        if i % 5 == 0
        else {"tenant": i % 8, "office": None}
        if i % 5 == 1
        else {"tenant": i % 8, "office": i // 8 % 5}
        for i in range(100)
    ]
    made = twin(
        [
            tenant,
            table("offices", "tenant:int32 id:int64", "tenant id", {"tenant": "tenants(id)"}),
            table(
                "staff",
                "tenant:int32? office:int64?",
                keys={"tenant": "tenants(id)", "tenant office": "offices(tenant id)"},
            ),
        ],
        {"tenants": tenant_rows, "offices": offices, "staff": staff},
    )
    shapes = Counter((r["tenant"] is None, r["office"] is None) for r in made["staff"])
    assert shapes == {(True, True): 20, (False, True): 20, (False, False): 60}


def test_the_other_part_of_a_key_that_is_partly_null_is_no_real_value_and_no_null_that_the_source_lacks():
    accounts = [{"email": f"person{i}@example.org", "nr": 1} for i in range(60)]
    bookings = [{"email": accounts[i % 60]["email"], "nr": 1 if i % 3 else None} for i in range(600)]
    made = twin(
        [
            table("accounts", "email:string nr:int32", "email nr"),
            table("bookings", "email:string? nr:int32?", keys={"email nr": "accounts(email nr)"}),
        ],
        {"accounts": accounts, "bookings": bookings},
    )
    twins = {r["email"] for r in made["accounts"]}
    assert {r["email"] for r in made["bookings"] if r["nr"] is None} <= twins
    assert not twins & {r["email"] for r in accounts}
    assert sum(r["nr"] is None for r in made["bookings"]) == 200


def test_numbers_within_a_parent_count_from_one_without_a_gap():
    orders = [{"id": i} for i in range(40)]
    lines = [{"order_id": i, "line": n + 1} for i in range(40) for n in range(i % 6)]
    made = twin(
        [table("orders", "id:int64", "id"), table("lines", "order_id:int64 line:int32", "order_id line", {"order_id": "orders(id)"})],
        {"orders": orders, "lines": lines},
    )
    found: dict[int, list[int]] = {}
    for row in made["lines"]:
        found.setdefault(row["order_id"], []).append(row["line"])
    assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in found.values())


@pytest.mark.parametrize("roots_refer_to_themselves", [False, True])
def test_a_forest_is_as_deep_as_the_sources(roots_refer_to_themselves):
    up = [None if i < 10 else (i - 10) // 2 for i in range(120)]
    rows = [{"id": i, "up": i if u is None and roots_refer_to_themselves else u} for i, u in enumerate(up)]
    nullable = "" if roots_refer_to_themselves else "?"
    made = twin([table("nodes", f"id:int64 up:int64{nullable}", "id", {"up": "nodes(id)"})], {"nodes": rows})["nodes"]
    assert any(r["up"] == r["id"] for r in made) is roots_refer_to_themselves
    real, found = depths(rows, "id", "up"), depths(made, "id", "up")
    assert found[0] == real[0]
    assert max(found) == max(real)


def test_of_a_chain_each_row_follows_another_that_no_other_follows():
    rows = [{"id": i, "after": i - 1 if i % 10 else None} for i in range(60)]
    made = twin([table("steps", "id:int64 after:int64?", "id", {"after": "steps(id)"}, unique="after")], {"steps": rows})["steps"]
    assert sum(r["after"] is None for r in made) == 6


def test_two_tables_refer_to_each_other_one_to_one():
    users = [{"id": i, "account": i if i % 4 else None} for i in range(40)]
    accounts = [{"id": i, "holder": 39 - i} for i in range(40)]
    made = twin(
        [
            table("users", "id:int64 account:int64?", "id", {"account": "accounts(id)"}, unique="account"),
            table("accounts", "id:int64 holder:int64", "id", {"holder": "users(id)"}, unique="holder"),
        ],
        {"users": users, "accounts": accounts},
    )
    assert sum(r["account"] is not None for r in made["users"]) == 30


def test_keys_that_overlap_in_a_ring_agree_all_round():
    rng = np.random.default_rng(0)
    pairs = [(a, b) for a in range(12) for b in range(12) if rng.random() < 0.5]
    there = set(pairs)
    triples = [(x, y, z) for x, y in pairs for z in range(12) if (y, z) in there and (z, x) in there]
    made = twin(
        [
            table("things", "id:int32", "id"),
            *(table(f"{a}{b}", f"{a}:int32 {b}:int32", f"{a} {b}", {a: "things(id)", b: "things(id)"}) for a, b in ("xy", "yz", "zx")),
            table("facts", "x:int32 y:int32 z:int32", "x y z", {"x y": "xy(x y)", "y z": "yz(y z)", "z x": "zx(z x)"}),
        ],
        {
            "things": [{"id": i} for i in range(12)],
            **{a + b: [{a: p, b: q} for p, q in pairs] for a, b in ("xy", "yz", "zx")},
            "facts": [dict(zip("xyz", t, strict=True)) for t in triples[::3]],
        },
    )
    assert len({(r["x"], r["y"]) for r in made["facts"]}) > 20


def test_a_pair_is_unique_though_one_key_of_it_overlaps_a_key_that_is_null():
    rng = np.random.default_rng(0)
    shelves = [{"place": p, "no": n} for p in range(6) for n in range(5)]
    pairs = [(int(g), int(p)) for g, p in zip(rng.permutation(np.repeat(np.arange(10), 6)), np.tile(np.arange(6), 10), strict=True)]
    goods = [
        {"good": g, "place": p, "no": int(rng.integers(0, 5)) if i % 3 == 0 else None} for i, (g, p) in enumerate(dict.fromkeys(pairs))
    ]
    made = twin(
        [
            table("places", "id:int32", "id"),
            table("goods", "id:int32", "id"),
            table("shelves", "place:int32 no:int32", "place no", {"place": "places(id)"}),
            table(
                "stock",
                "good:int32 place:int32 no:int32?",
                "good place",
                {"good": "goods(id)", "place": "places(id)", "place no": "shelves(place no)"},
            ),
        ],
        {
            "places": [{"id": i} for i in range(6)],
            "goods": [{"id": i} for i in range(10)],
            "shelves": shelves,
            "stock": goods,
        },
    )
    assert sum(r["no"] is not None for r in made["stock"]) == sum(r["no"] is not None for r in goods)


def test_managers_are_of_the_tenant_of_those_they_manage():
    tenant, tenant_rows = tenants()
    staff = [{"tenant": i % 8, "id": i, "manager": i - 8 if i >= 8 and i % 3 else None} for i in range(96)]
    people = table(
        "staff",
        "tenant:int32 id:int64 manager:int64?",
        "tenant id",
        {"tenant": "tenants(id)", "tenant manager": "staff(tenant id)"},
    )
    made = twin([tenant, people], {"tenants": tenant_rows, "staff": staff})["staff"]
    assert sum(r["manager"] is not None for r in made) == sum(r["manager"] is not None for r in staff)


def test_of_a_cycle_the_key_that_may_be_null_waits():
    departments = [{"id": i, "head": i * 3 if i % 2 else None} for i in range(20)]
    staff = [{"id": i, "department": i // 3} for i in range(60)]
    made = twin(
        [
            table("departments", "id:int64 head:int64?", "id", {"head": "staff(id)"}),
            table("staff", "id:int64 department:int64", "id", {"department": "departments(id)"}),
        ],
        {"departments": departments, "staff": staff},
    )
    assert sum(r["head"] is not None for r in made["departments"]) == 10


def test_an_extension_has_the_key_of_its_parent():
    users = [{"id": i} for i in range(50)]
    made = twin(
        [table("users", "id:int64", "id"), table("profiles", "id:int64 colour:string", "id", {"id": "users(id)"})],
        {"users": users, "profiles": [{"id": i, "colour": "red"} for i in range(30)]},
    )
    assert {r["id"] for r in made["profiles"]} < {r["id"] for r in made["users"]}


def test_a_unique_key_that_may_be_null_is_referred_to_where_it_is_not():
    users = [{"id": i, "code": None if i % 3 else f"C-{i:03d}"} for i in range(60)]
    badges = [{"code": u["code"], "shape": "round"} for u in users if u["code"]]
    twin(
        [
            table("users", "id:int64 code:string?", "id", unique="code"),
            table("badges", "code:string shape:string", "code", {"code": "users(code)"}),
        ],
        {"users": users, "badges": badges},
    )
