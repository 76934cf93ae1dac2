"""A shop with every shape of key: two parents, a nullable key, a reference to the own table, a unique key, a bridge."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa

from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.schema.types import to_arrow

USERS, STORES, ORDERS = 300, 60, 900


def _id(name: str = "id", data_type: str = "int64", nullable: bool = False) -> Column:
    return Column(name, Kind.IDENTIFIER, data_type, nullable)


SCHEMA = Schema.of(
    [
        Table(
            "users",
            (
                _id(),
                _id("invited_by", nullable=True),
                Column("country", Kind.CATEGORY, "string", False),
                Column("joined", Kind.DATE, "date", False),
                Column("email", Kind.TEXT, "string(40)", False),
                Column("age", Kind.INTEGER, "int16"),
                Column("settings", Kind.JSON, "json"),
            ),
            ("id",),
            unique=(("email",),),
            foreign_keys=(ForeignKey(("invited_by",), "users", ("id",)),),
        ),
        Table("stores", (_id("code", "string(6)"), Column("region", Kind.CATEGORY, "string", False)), ("code",)),
        Table(
            "orders",
            (
                _id(),
                _id("user_id"),
                _id("store_code", "string(6)", nullable=True),
                Column("created", Kind.TIMESTAMP, "timestamp", False),
                Column("amount", Kind.DECIMAL, "decimal(10,2)", False),
                Column("paid", Kind.BOOLEAN, "boolean", False),
            ),
            ("id",),
            foreign_keys=(ForeignKey(("user_id",), "users", ("id",)), ForeignKey(("store_code",), "stores", ("code",))),
        ),
        Table(
            "items",
            (_id("id", "uuid"), _id("order_id"), Column("quantity", Kind.INTEGER, "int32", False), Column("note", Kind.TEXT, "string")),
            ("id",),
            foreign_keys=(ForeignKey(("order_id",), "orders", ("id",)),),
        ),
        Table(
            "cards",
            (_id(), _id("user_id"), Column("level", Kind.CATEGORY, "string", False)),
            ("id",),
            unique=(("user_id",),),
            foreign_keys=(ForeignKey(("user_id",), "users", ("id",)),),
        ),
        Table(
            "favourites",
            (_id("user_id"), _id("store_code", "string(6)"), Column("stars", Kind.INTEGER, "int16", False)),
            ("user_id", "store_code"),
            foreign_keys=(ForeignKey(("user_id",), "users", ("id",)), ForeignKey(("store_code",), "stores", ("code",))),
        ),
    ]
)


def tables(seed: int = 0) -> dict[str, pa.Table]:
    """The rows of the shop: orders come after their user joined, users were invited by earlier ones."""
    rng = np.random.default_rng(seed)
    user, joined = np.arange(1, USERS + 1), np.sort(rng.integers(0, 900, USERS))
    store = np.array([f"ST-{i:03d}" for i in range(10, 10 + 5 * STORES, 5)])
    budget = rng.normal(3, 1, USERS)
    invited = [int(rng.integers(1, i)) if i > 20 and rng.random() < 0.6 else None for i in user]
    of_user = np.sort(rng.choice(USERS, ORDERS, p=rng.dirichlet(np.full(USERS, 0.7))))
    start = datetime.datetime(2021, 1, 1)
    created = [start + datetime.timedelta(days=int(joined[u]), seconds=int(rng.exponential(60 * 86_400)) + 86_400) for u in of_user]
    of_order = np.sort(rng.integers(0, ORDERS, 1500))
    card_holders = np.sort(rng.permutation(user)[:200])
    pairs = rng.permutation(USERS * STORES)[:400]
    content = {
        "users": {
            "id": user.tolist(),
            "invited_by": invited,
            "country": rng.choice(["DE", "FR", "IT", "PL"], USERS, p=[0.5, 0.3, 0.15, 0.05]).tolist(),
            "joined": [(start + datetime.timedelta(days=int(d))).date() for d in joined],
            "email": [f"user{i:05d}@example.org" for i in user * 37],
            "age": [None if rng.random() < 0.1 else int(a) for a in rng.integers(18, 90, USERS)],
            "settings": ["{}"] * USERS,
        },
        "stores": {"code": store.tolist(), "region": (["north", "south"] * STORES)[:STORES]},
        "orders": {
            "id": list(range(1000, 1000 + ORDERS)),
            "user_id": user[of_user].tolist(),
            "store_code": [None if rng.random() < 0.2 else str(rng.choice(store)) for _ in range(ORDERS)],
            "created": created,
            "amount": [round(float(a), 2) for a in rng.lognormal(budget[of_user], 0.2)],
            "paid": (rng.random(ORDERS) < 0.8).tolist(),
        },
        "items": {
            "id": [f"{i:08x}-0000-4000-8000-{i * 7919:012x}" for i in range(1500)],
            "order_id": (1000 + of_order).tolist(),
            "quantity": rng.integers(1, 6, 1500).tolist(),
            "note": [
                None if rng.random() < 0.5 else f"{rng.choice(['ring', 'leave', 'call'])} {rng.choice(['twice', 'there', 'before'])}"
                for _ in range(1500)
            ],
        },
        "cards": {"id": list(range(1, 201)), "user_id": card_holders.tolist(), "level": rng.choice(["gold", "blue"], 200).tolist()},
        "favourites": {
            "user_id": user[pairs // STORES].tolist(),
            "store_code": store[pairs % STORES].tolist(),
            "stars": rng.integers(1, 6, 400).tolist(),
        },
    }
    return {
        name: pa.table(
            {
                c.name: pa.array(content[name][c.name], to_arrow(c.data_type), from_pandas=True)
                if c.name != "amount"
                else _decimals(content[name]["amount"])
                for c in table.columns
            }
        )
        for name, table in SCHEMA.tables.items()
    }


def _decimals(values: list[float]) -> pa.Array:
    return pa.array([f"{v:.2f}" for v in values]).cast(pa.decimal128(10, 2))
