"""A small shop: customers place orders, orders hold items (composite key), and a twin that follows the same rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import numpy as np
import pandas as pd
import pytest

from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table

CUSTOMERS, ORDERS = 400, 1500


def shop_schema() -> Schema:
    return Schema.of(
        [
            Table(
                "customers",
                (
                    Column("id", Kind.IDENTIFIER, "int64", nullable=False),
                    Column("email", Kind.TEXT, "string", nullable=False),
                    Column("country", Kind.CATEGORY, "string"),
                    Column("born", Kind.DATE, "date"),
                    Column("active", Kind.BOOLEAN, "boolean", nullable=False),
                ),
                primary_key=("id",),
                unique=(("email",),),
            ),
            Table(
                "orders",
                (
                    Column("id", Kind.IDENTIFIER, "int64", nullable=False),
                    Column("customer_id", Kind.IDENTIFIER, "int64"),
                    Column("placed", Kind.TIMESTAMP, "timestamp", nullable=False),
                    Column("opens", Kind.TIME, "time"),
                    Column("total", Kind.DECIMAL, "decimal(10,2)", nullable=False),
                    Column("status", Kind.CATEGORY, "string"),
                ),
                primary_key=("id",),
                foreign_keys=(ForeignKey(("customer_id",), "customers", ("id",)),),
            ),
            Table(
                "items",
                (
                    Column("order_id", Kind.IDENTIFIER, "int64", nullable=False),
                    Column("line", Kind.INTEGER, "int32", nullable=False),
                    Column("quantity", Kind.INTEGER, "int32", nullable=False),
                ),
                primary_key=("order_id", "line"),
                foreign_keys=(ForeignKey(("order_id",), "orders", ("id",)),),
            ),
            Table(
                "returns",
                (
                    Column("order_id", Kind.IDENTIFIER, "int64"),
                    Column("line", Kind.INTEGER, "int32"),
                    Column("reason", Kind.CATEGORY, "string", nullable=False),
                ),
                foreign_keys=(ForeignKey(("order_id", "line"), "items", ("order_id", "line")),),
            ),
        ]
    )


def shop_frames(seed: int) -> dict[str, pd.DataFrame]:
    """Tables with real associations: rich countries spend more, one customer's orders are alike."""
    r = np.random.default_rng(seed)
    country = r.choice(["DE", "FR", "PL"], CUSTOMERS, p=[0.5, 0.3, 0.2])
    customers = pd.DataFrame(
        {
            "id": np.arange(1, CUSTOMERS + 1),
            "email": [f"user{seed}-{i}@example.org" for i in range(CUSTOMERS)],
            "country": pd.Series(country).where(r.random(CUSTOMERS) > 0.1, None),
            "born": [date(1950, 1, 1) + timedelta(days=int(d)) for d in r.integers(0, 18000, CUSTOMERS)],
            "active": r.random(CUSTOMERS) < 0.7,
        }
    )
    weight = r.gamma(1.0, 1.0, CUSTOMERS)
    owner = r.choice(CUSTOMERS, ORDERS, p=weight / weight.sum())
    level = np.where(country == "DE", 4.5, 3.0) + r.normal(0, 0.5, CUSTOMERS)
    orders = pd.DataFrame(
        {
            "id": np.arange(1, ORDERS + 1),
            "customer_id": pd.Series(owner + 1, dtype="Int64").mask(r.random(ORDERS) < 0.05),
            "placed": [datetime(2024, 1, 1) + timedelta(minutes=int(m)) for m in r.integers(0, 500_000, ORDERS)],
            "opens": [time(int(h), 30) for h in r.integers(6, 12, ORDERS)],
            "total": np.round(np.exp(level[owner] + r.normal(0, 0.3, ORDERS)), 2),
            "status": r.choice(["paid", "open", "late"], ORDERS, p=[0.8, 0.15, 0.05]),
        }
    )
    lines = r.integers(1, 4, ORDERS)
    items = pd.DataFrame(
        {
            "order_id": np.repeat(orders["id"].to_numpy(), lines),
            "line": np.concatenate([np.arange(1, n + 1) for n in lines]).astype("int32"),
            "quantity": r.poisson(2, lines.sum()).astype("int32") + 1,
        }
    )
    chosen = items.iloc[r.permutation(len(items))[:300]]
    returns = chosen[["order_id", "line"]].reset_index(drop=True).assign(reason=r.choice(["broken", "late"], 300))
    return {"customers": customers, "orders": orders, "items": items, "returns": returns}


@dataclass(frozen=True)
class Shop:
    schema: Schema
    real: dict[str, pd.DataFrame]
    frames: Callable[[int], dict[str, pd.DataFrame]]


@pytest.fixture(scope="session")
def shop() -> Shop:
    return Shop(shop_schema(), shop_frames(0), shop_frames)
