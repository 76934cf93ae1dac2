"""Keys guessed from data: what is unique or included, if besides a name says so or chance cannot explain it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from synth_engine.schema import Column, ForeignKey, Kind, Provenance, Schema, Table
from synth_engine.schema.inference import InferredKey, Sample, apply_inferred, infer_keys
from synth_engine.schema.types import default_kind, from_arrow

Columns = dict[str, Sequence[Any]]


def schema_of(data: dict[str, Columns]) -> Schema:
    tables = []
    for name, columns in data.items():
        types = {column: from_arrow(pa.array(values).type) for column, values in columns.items()}
        tables.append(Table(name, tuple(Column(c, default_kind(t), t) for c, t in types.items())))
    return Schema.of(tables)


def infer(
    data: dict[str, Columns], schema: Schema | None = None, cut: Sequence[str] = (), written: Sequence[tuple[str, str]] = ()
) -> list[InferredKey]:
    found = schema or schema_of(data)
    samples = {name: Sample.of(found.tables[name], pa.table(columns), name not in cut) for name, columns in data.items()}
    return list(infer_keys(found, samples, written))


def taken(keys: list[InferredKey]) -> set[str]:
    return {name_of(key) for key in keys if key.taken}


def left(keys: list[InferredKey]) -> dict[str, str]:
    """The evidence on each key that was thought of and not taken."""
    return {name_of(key): key.evidence for key in keys if not key.taken}


def name_of(key: InferredKey) -> str:
    target = f" -> {key.parent}.{'+'.join(key.parent_columns)}" if key.parent else ""
    return f"{key.table}.{'+'.join(key.columns)}{target}"


DRAW = random.Random(1)
SHUFFLED = DRAW.sample(range(1, 201), 200)


def shop() -> dict[str, Columns]:
    return {
        "customers": {"id": SHUFFLED, "month": [1 + i % 12 for i in range(200)], "email": [f"a{i}@mail.test" for i in range(200)]},
        "orders": {"order_id": list(range(500, 900)), "customer_id": [DRAW.choice(SHUFFLED) for _ in range(400)]},
    }


# -- primary keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["id", "customer_id", "CustomerID", "customerid", "customer_key", "sk_customer"])
def test_a_unique_column_named_as_the_key_of_its_table_is_the_primary_key(column: str) -> None:
    keys = infer({"dim_customers": {"name": ["a", "b"], column: [7, 3]}})
    assert taken(keys) == {f"dim_customers.{column}"}
    assert keys[0].evidence == "all 2 values differ, none is null; named as the table's key"


@pytest.mark.parametrize("values", [[1, 2, 2], [1, 2, None]])
def test_a_column_that_repeats_or_is_null_is_no_key_whatever_its_name(values: list[int | None]) -> None:
    assert infer({"customers": {"id": values}}) == []


def test_a_unique_column_that_tables_refer_to_by_name_is_the_primary_key() -> None:
    keys = infer({"airlines": {"name": ["x", "y", "z"], "carrier": ["AA", "B6", "UA"]}, "flights": {"carrier": ["UA", "AA", "AA"]}})
    assert taken(keys) == {"airlines.carrier", "flights.carrier -> airlines.carrier"}


def test_the_first_column_is_the_primary_key_if_chance_would_have_repeated_a_value() -> None:
    dense, sparse = SHUFFLED, DRAW.sample(range(10**9), 200)
    assert taken(infer({"t": {"nr": dense, "x": [1.5] * 200}})) == {"t.nr"}
    assert taken(infer({"t": {"amount": sparse, "x": [1.5] * 200}})) == set()
    assert taken(infer({"t": {"x": [1.5] * 200, "rank": dense}})) == set()


def test_a_unique_column_that_nothing_speaks_for_is_shown_and_not_taken() -> None:
    keys = infer({"customers": {"x": [1.5] * 20, "email": [f"a{i}@mail.test" for i in range(20)]}})
    assert left(keys) == {
        "customers.email": "all 20 values differ, none is null; neither its name nor another table says that it is the key"
    }


def test_a_table_that_has_a_primary_key_is_given_no_other() -> None:
    schema = schema_of({"customers": shop()["customers"]})
    declared = Schema.of([Table("customers", schema.tables["customers"].columns, primary_key=("email",))])
    assert infer({"customers": shop()["customers"]}, declared) == []


def test_dates_and_fractions_are_never_keys() -> None:
    assert infer({"t": {"id": [1.0, 2.5]}}) == []


def test_prose_is_no_key() -> None:
    assert infer({"t": {"id": ["long " * 20, "longer " * 20]}}) == []


def test_what_a_person_said_a_column_means_is_not_guessed_anew() -> None:
    assert infer({"customers": {"id": [1, 2, 3]}}, written=[("customers", "id")]) == []


def test_two_references_that_are_unique_together_are_the_key_of_a_table_that_links_others() -> None:
    pairs = [(i, j) for i in range(1, 31) for j in range(1, 41)]
    kept = DRAW.sample(pairs, 600)
    data: dict[str, Columns] = {
        "actor": {"actor_id": list(range(1, 31))},
        "film": {"film_id": list(range(1, 41))},
        "film_actor": {"actor_id": [a for a, _ in kept], "film_id": [f for _, f in kept]},
    }
    assert "film_actor.actor_id+film_id" in taken(infer(data))


def test_a_pair_that_is_unique_by_chance_is_shown_and_not_taken() -> None:
    data: dict[str, Columns] = {"visit": {"person_id": [1, 1, 2, 2, 3, 3], "place_id": [1, 2, 3, 1, 2, 3]}}
    assert left(infer(data)) == {"visit.person_id+place_id": "all 6 pairs differ, none is null; chance would explain it"}


# -- foreign keys --------------------------------------------------------------------------------------------------------


def test_a_column_included_in_a_key_and_named_after_its_table_is_a_foreign_key() -> None:
    keys = infer(shop())
    assert "orders.customer_id -> customers.id" in taken(keys)
    [key] = [k for k in keys if k.parent]
    assert key.evidence.endswith("values are among the 200 of customers.id; named after the table")


@pytest.mark.parametrize("column", ["customer", "customer_id", "ship_customer_id", "fk_customer", "CUSTOMERID", "PayerCustomerId"])
def test_names_may_carry_a_role_and_be_spelled_in_any_way(column: str) -> None:
    data: dict[str, Columns] = {"customers": shop()["customers"], "orders": {"id": list(range(300, 340)), column: [5] * 40}}
    assert f"orders.{column} -> customers.id" in taken(infer(data))


@pytest.mark.parametrize("column", ["month", "quantity", "order_count", "reorder_level", "customer_age", "id"])
def test_numbers_included_in_a_surrogate_key_are_no_foreign_key_without_its_name(column: str) -> None:
    data: dict[str, Columns] = {
        "customers": shop()["customers"],
        "orders": {"order_id": list(range(1, 151)), "x": [0.5] * 150},
        "lines": {"x": [0.5] * 24, column: [1 + i % 12 for i in range(24)]},
    }
    assert not [key for key in infer(data) if key.parent]


def test_one_value_that_is_missing_makes_it_a_candidate_and_many_make_it_nothing() -> None:
    data = shop()
    data["orders"]["customer_id"] = [*SHUFFLED, *SHUFFLED[:199], 9999]
    assert left(infer(data))["orders.customer_id -> customers.id"] == (
        "200 of 201 values are among the 200 of customers.id; not all are there"
    )
    data["orders"]["customer_id"] = list(range(150, 550))
    assert not [key for key in infer(data) if key.parent]


def test_formats_too_long_for_chance_need_no_name() -> None:
    codes = [str(uuid.UUID(int=DRAW.getrandbits(128))) for _ in range(20)]
    data: dict[str, Columns] = {"customers": {"id": codes}, "orders": {"x": [0.5] * 40, "buyer": codes * 2}}
    assert "orders.buyer -> customers.id" in taken(infer(data))


def test_short_codes_may_be_included_by_chance() -> None:
    data: dict[str, Columns] = {"country": {"code": ["de", "fr", "it", "es"]}, "film": {"language": ["de", "fr", "it", "it"]}}
    assert left(infer(data))["film.language -> country.code"].endswith("chance would explain it, and the name says nothing")


def test_of_two_parents_the_one_the_column_is_named_after_is_taken() -> None:
    data: dict[str, Columns] = {
        "film": {"film_id": list(range(1, 41))},
        "film_text": {"film_id": list(range(1, 41)), "text": ["x"] * 40},
        "inventory": {"inventory_id": list(range(100, 150)), "film_id": [1 + i % 40 for i in range(50)]},
    }
    keys = taken(infer(data))
    assert {"inventory.film_id -> film.film_id", "film_text.film_id -> film.film_id"} <= keys
    assert not any("-> film_text" in key for key in keys)


def test_where_each_is_included_in_the_other_nothing_tells_which_refers() -> None:
    codes = [f"2024-{i:06d}" for i in range(20)]
    data: dict[str, Columns] = {"left": {"id": codes}, "right": {"id": codes}}
    keys = infer(data)
    assert taken(keys) == {"left.id", "right.id"}
    assert left(keys)["left.id -> right.id"].endswith("each is included in the other, so nothing tells which of them refers")


def test_a_table_may_refer_to_itself_if_the_name_says_so() -> None:
    data: dict[str, Columns] = {"employee": {"id": list(range(1, 21)), "parent_id": [1] * 20, "manager": [1] * 20}}
    assert taken(infer(data)) == {"employee.id", "employee.parent_id -> employee.id"}


def test_a_column_with_a_foreign_key_is_given_no_other() -> None:
    tables = dict(schema_of(shop()).tables)
    declared = ForeignKey(("customer_id",), "elsewhere", ("id",))
    tables["orders"] = Table("orders", tables["orders"].columns, foreign_keys=(declared,))
    assert not [key for key in infer(shop(), Schema(tables)) if key.parent]


def test_whole_decimals_are_numbers_too() -> None:
    data = shop()
    types = {
        name: {c: [Decimal(v) for v in vs] if isinstance(vs[0], int) else vs for c, vs in columns.items()} for name, columns in data.items()
    }
    schema = Schema.of(
        replace(t, columns=tuple(replace(c, data_type="decimal(38,0)") if c.kind is not Kind.TEXT else c for c in t.columns))
        for t in schema_of(data).tables.values()
    )
    assert taken(infer(types, schema)) == taken(infer(data))


def test_only_columns_of_one_type_are_compared() -> None:
    data = shop()
    data["orders"]["customer_id"] = [str(value) for value in data["orders"]["customer_id"]]
    assert not [key for key in infer(data) if key.parent]


# -- samples -------------------------------------------------------------------------------------------------------------


def test_a_parent_that_was_cut_is_no_evidence_against_a_key() -> None:
    data = shop()
    data["customers"] = {"id": list(range(1, 51)), "month": [1] * 50}
    data["orders"]["customer_id"] = list(range(1, 401))
    assert not [key for key in infer(data) if key.parent]
    keys = infer(data, cut=["customers"])
    [key] = [k for k in keys if k.parent]
    assert key.taken
    assert key.evidence == ("50 of 400 values are among the 50 of customers.id (sampled: the first 50 rows); named after the table")


def test_a_sample_is_called_one_where_it_shows_that_values_differ() -> None:
    keys = infer({"customers": {"id": [1, 2, 3]}}, cut=["customers"])
    assert keys[0].evidence == "all 3 values differ, none is null (sampled: the first 3 rows); named as the table's key"


# -- use -----------------------------------------------------------------------------------------------------------------


def test_only_keys_that_were_taken_stand_in_the_schema_and_as_inferred() -> None:
    schema = apply_inferred(schema_of(shop()), infer(shop()))
    customers, orders = schema.tables["customers"], schema.tables["orders"]
    assert (customers.primary_key, customers.provenance(("id",)), customers.unique) == (("id",), Provenance.INFERRED, ())
    assert orders.foreign_keys == (ForeignKey(("customer_id",), "customers", ("id",), Provenance.INFERRED),)
    assert customers.column("id").kind is Kind.IDENTIFIER
    assert not customers.column("id").nullable


def test_no_value_is_in_the_evidence() -> None:
    secret = [f"secret-{i:05d}" for i in range(20)]
    data: dict[str, Columns] = {"t": {"id": secret, "name": secret}, "u": {"who": [*secret, "secret-99999"]}}
    assert "secret" not in str(infer(data))
