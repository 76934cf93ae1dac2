"""Child summaries: codes that stand for enough parents, or for enough children, to disclose nobody."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from synth_engine.model.preparation import prepare
from synth_engine.model.summaries import CHILDREN_INSTEAD, summarise, summarise_jointly
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from tests.model import shop


@pytest.fixture(scope="module")
def prepared(real):
    return prepare(shop.SCHEMA, dict(real), 0)


@pytest.mark.parametrize("fewest", [2, 5, 20])
@pytest.mark.parametrize(("child", "key"), [("orders", 0), ("orders", 1), ("items", 0), ("cards", 0), ("favourites", 0), ("favourites", 1)])
def test_no_code_stands_for_fewer_parents_than_asked_for(prepared, child, key, fewest):
    one = prepared[child]
    parents = prepared[one.keys[key].parent].rows
    made = summarise(one, key, parents, 0, fewest)
    degrees = np.bincount(one.parents[key][one.parents[key] >= 0], minlength=parents)
    assert made.counts.tolist() == degrees.tolist()
    assert ((made.tokens == 0).all(axis=1) == (degrees == 0)).all()
    for codes, size in zip(made.tokens.T, made.sizes, strict=True):
        assert codes.max() < size
        members, children = np.bincount(codes, minlength=size)[1:], np.bincount(codes, degrees, minlength=size)[1:]
        assert ((members >= fewest) | (children >= CHILDREN_INSTEAD) | (size == 2)).all()


def test_joint_codes_obey_the_same_threshold_and_keep_zero_for_the_childless(prepared):
    users = prepared["users"].rows
    summaries = [summarise(prepared[child], 0, users, 0, 5) for child in ("orders", "cards", "favourites")]
    codes, size = summarise_jointly(summaries, 0, "users", 5)
    counts = np.sum([s.counts for s in summaries], axis=0)
    assert ((codes == 0) == (counts == 0)).all()
    assert size > 2
    assert np.bincount(codes, minlength=size)[1:].min() >= 5


def test_a_key_without_children_has_no_codes():
    schema, rows = Schema.of([shop.SCHEMA.tables["stores"], _visits()]), shop.tables()["stores"]
    none = pa.table({"store_code": pa.array([], pa.string()), "hour": pa.array([], pa.int32())})
    prepared = prepare(schema, {"stores": rows, "visits": none}, 0)
    made = summarise(prepared["visits"], 0, rows.num_rows, 0, 5)
    assert made.sizes == (1, 1)
    assert not made.tokens.any()


def test_parents_whose_children_differ_get_different_codes():
    rng = np.random.default_rng(0)
    stores, per_store = 300, 10
    code = np.array([f"S-{i:04d}" for i in range(stores)])
    early = np.arange(stores) % 2 == 0
    hour = np.where(np.repeat(early, per_store), rng.integers(6, 10, stores * per_store), rng.integers(16, 22, stores * per_store))
    schema = Schema.of([Table("stores", (Column("code", Kind.IDENTIFIER, "string", False),), ("code",)), _visits()])
    visits = pa.table({"store_code": np.repeat(code, per_store), "hour": pa.array(hour, pa.int32())})
    prepared = prepare(schema, {"stores": pa.table({"code": code}), "visits": visits}, 0)
    made = summarise(prepared["visits"], 0, stores, 0, 5)
    assert not set(made.tokens[early, 0]) & set(made.tokens[~early, 0])


def test_like_parents_leave_nothing_for_a_second_code_to_tell():
    stores, per_store = 2_000, 6
    code = np.array([f"S-{i:04d}" for i in range(stores)])
    hour = np.repeat(np.arange(stores) % 5, per_store)
    schema = Schema.of([Table("stores", (Column("code", Kind.IDENTIFIER, "string", False),), ("code",)), _visits()])
    visits = pa.table({"store_code": np.repeat(code, per_store), "hour": pa.array(hour, pa.int32())})
    prepared = prepare(schema, {"stores": pa.table({"code": code}), "visits": visits}, 0)
    assert summarise(prepared["visits"], 0, stores, 0, 5).sizes == (6, 2)


def _visits() -> Table:
    columns = (Column("store_code", Kind.IDENTIFIER, "string", False), Column("hour", Kind.INTEGER, "int32"))
    return Table("visits", columns, foreign_keys=(ForeignKey(("store_code",), "stores", ("code",)),))
