"""Halves of real data have no entity in common, and each is a database of the schema."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.integrity import faults
from benchmarks.split import halves
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from tests.benchmarks.shop import SCHEMA, shop

TABLES = shop(0)


def values(table: pa.Table, column: str) -> set[object]:
    return set(table[column].to_pylist())


def test_a_customer_is_in_one_half_with_all_orders_and_lines() -> None:
    split = halves(SCHEMA, TABLES, 0)
    assert split is not None
    for half in (split.training, split.held_out):
        assert len(half["customer"]) == 150 and len(half["order"]) == 750 and len(half["line"]) == 1500
        assert values(half["order"], "customer_id") == values(half["customer"], "id")
        assert values(half["line"], "order_id") == values(half["order"], "id")
    assert not values(split.training["customer"], "id") & values(split.held_out["customer"], "id")


def test_reference_tables_are_in_both_halves_in_full() -> None:
    split = halves(SCHEMA, TABLES, 0)
    assert split is not None and split.shared == {"product"}
    assert split.training["product"].equals(TABLES["product"]) and split.held_out["product"].equals(TABLES["product"])


def test_both_halves_keep_every_rule() -> None:
    split = halves(SCHEMA, TABLES, 0)
    assert split is not None
    assert faults(SCHEMA, TABLES, split.training) == faults(SCHEMA, TABLES, split.held_out) == []


def test_another_seed_splits_otherwise_and_the_same_seed_alike() -> None:
    first, again, other = (halves(SCHEMA, TABLES, seed) for seed in (0, 0, 1))
    assert first is not None and again is not None and other is not None
    assert first.training["customer"].equals(again.training["customer"])
    assert not first.training["customer"].equals(other.training["customer"])


def test_tables_of_few_rows_cannot_be_split() -> None:
    assert halves(SCHEMA, shop(0, customers=9), 0) is None


def posts(editor_may_be_missing: bool) -> tuple[Schema, dict[str, pa.Table]]:
    """Each user has four posts; another user edits one of them, in a ring through all users."""
    users = 400
    rows = [(4 * user + i, user, (user + 1) % users if i == 0 else user) for user in range(users) for i in range(4)]
    keys = tuple(ForeignKey((column,), "user", ("id",)) for column in ("owner", "editor"))
    columns = [Column(c, Kind.IDENTIFIER, "int64", False) for c in ("id", "owner", "editor")]
    columns[2] = dataclasses.replace(columns[2], nullable=editor_may_be_missing)
    schema = Schema.of([Table("user", columns[:1], ("id",)), Table("post", tuple(columns), ("id",), foreign_keys=keys)])
    post = pa.table(
        {name: pa.array(values, pa.int64()) for name, values in zip(("id", "owner", "editor"), zip(*rows, strict=True), strict=True)}
    )
    return schema, {"user": pa.table({"id": pa.array(range(users), pa.int64())}), "post": post}


def test_a_reference_into_the_other_half_is_emptied_where_it_may_be() -> None:
    schema, tables = posts(editor_may_be_missing=True)
    split = halves(schema, tables, 0)
    assert split is not None and split.shared == frozenset()
    assert len(split.training["post"]) == len(split.held_out["post"]) == 800
    emptied = split.training["post"]["editor"].null_count
    assert 0 < emptied < 200
    assert pc.all(pc.is_in(split.training["post"]["editor"].drop_null(), split.training["user"]["id"])).as_py()


def test_a_row_whose_reference_must_not_be_empty_is_left_out() -> None:
    schema, tables = posts(editor_may_be_missing=False)
    split = halves(schema, tables, 0)
    assert split is not None
    assert 600 < len(split.training["post"]) < 800
    assert pc.all(pc.is_in(split.training["post"]["editor"], split.training["user"]["id"])).as_py()
