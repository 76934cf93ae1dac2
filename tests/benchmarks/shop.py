"""A shop whose customers have habits: what they spend drifts from order to order, and depends on their region."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.schema.types import arrow_schema

SCHEMA = Schema.of(
    [
        Table("product", (Column("id", Kind.IDENTIFIER, "int64", False), Column("price", Kind.DECIMAL, "float64")), ("id",)),
        Table("customer", (Column("id", Kind.IDENTIFIER, "int64", False), Column("region", Kind.CATEGORY, "string")), ("id",)),
        Table(
            "order",
            (
                Column("id", Kind.IDENTIFIER, "int64", False),
                Column("customer_id", Kind.IDENTIFIER, "int64", False),
                Column("day", Kind.DATE, "date"),
                Column("spent", Kind.DECIMAL, "float64"),
            ),
            ("id",),
            foreign_keys=(ForeignKey(("customer_id",), "customer", ("id",)),),
        ),
        Table(
            "line",
            (
                Column("id", Kind.IDENTIFIER, "int64", False),
                Column("order_id", Kind.IDENTIFIER, "int64", False),
                Column("product_id", Kind.IDENTIFIER, "int64", False),
                Column("weight", Kind.DECIMAL, "float64"),
            ),
            ("id",),
            foreign_keys=(ForeignKey(("order_id",), "order", ("id",)), ForeignKey(("product_id",), "product", ("id",))),
        ),
    ]
)


def shop(seed: int, customers: int = 300) -> dict[str, pa.Table]:
    """300 customers, 5 orders each, 2 lines each, 20 products."""
    r = np.random.default_rng(seed)
    orders = np.repeat(np.arange(customers), 5)
    region = r.integers(0, 3, customers)
    # a customer's spending walks slowly away from a level of its own, around that of the region
    steps = r.normal(0, 1, (customers, 5)).cumsum(axis=1) + r.normal(0, 5, (customers, 1)) + 20 * region[:, None]
    days = r.integers(0, 200, (customers, 1)) + r.integers(1, 30, (customers, 5)).cumsum(axis=1)
    lines = np.repeat(np.arange(len(orders)), 2)
    frames = {
        "product": pd.DataFrame({"id": np.arange(20), "price": np.round(r.lognormal(3, 1, 20), 2)}),
        "customer": pd.DataFrame({"id": np.arange(customers), "region": np.array(["north", "east", "south"])[region]}),
        "order": pd.DataFrame(
            {
                "id": np.arange(len(orders)),
                "customer_id": orders,
                "day": (np.datetime64("2024-01-01") + days.ravel()).astype("datetime64[D]"),
                "spent": steps.ravel().round(3),
            }
        ),
        "line": pd.DataFrame(
            {
                "id": np.arange(len(lines)),
                "order_id": lines,
                "product_id": r.integers(0, 20, len(lines)),
                "weight": (10 * region[orders[lines]] + r.normal(0, 1, len(lines))).round(6),
            }
        ),
    }
    return {
        name: pa.Table.from_pandas(frame, preserve_index=False).cast(arrow_schema(SCHEMA.tables[name])) for name, frame in frames.items()
    }


def shuffled(tables: dict[str, pa.Table], table: str, column: str) -> dict[str, pa.Table]:
    """The same with the values of one column in random rows."""
    data = tables[table]
    values = data[column].take(pa.array(np.random.default_rng(0).permutation(len(data))))
    return {**tables, table: data.set_column(data.schema.get_field_index(column), data.schema.field(column), values)}
