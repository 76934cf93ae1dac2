"""Categories: only what enough entities have is ever written."""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.category import RARE, CategoryEncoder
from synth_engine.encode.table import TableEncoder
from synth_engine.errors import Terminal
from synth_engine.schema import Column, Kind
from tests.encode.subjects import array, draw_of

rows_of_entities = st.lists(st.tuples(st.none() | st.sampled_from("abcdefgh"), st.integers(0, 12)), max_size=80)


def entities_of(values: list[str | None], entity: np.ndarray, value: str) -> int:
    return len({e for v, e in zip(values, entity.tolist(), strict=True) if v == value})


@settings(max_examples=120, deadline=None, derandomize=True)
@given(rows_of_entities, st.integers(1, 6))
def test_no_value_of_fewer_entities_than_asked_for_is_kept_or_comes_out(rows, rare_entities):
    values, entity = [v for v, _ in rows], np.array([e for _, e in rows], dtype=np.int64)
    column = array(values, "string")
    encoder = CategoryEncoder.fit(column, "string", entity, EncodingSettings(rare_entities=rare_entities))
    allowed = {v for v in set(values) - {None} if entities_of(values, entity, v) >= rare_entities}
    tokens = np.concatenate([encoder.encode(column), np.full((50, 1), RARE, np.int32)])
    came_out = set(encoder.decode(tokens, draw_of(np.arange(len(tokens)), len(tokens))).to_pylist()) - {None}
    assert set(encoder.to_json()["values"]) == allowed
    assert came_out <= allowed


def test_many_rows_of_one_entity_do_not_make_its_value_frequent():
    column = array(["ours"] * 20 + ["mine"] * 500, "string")
    entity = np.r_[np.arange(20), np.full(500, 99)]
    encoder = CategoryEncoder.fit(column, "string", entity, EncodingSettings(rare_entities=5))
    out = encoder.decode(encoder.encode(column), draw_of(np.arange(520), 520))
    assert set(out.to_pylist()) == {"ours"}
    assert "mine" not in json.dumps(encoder.to_json())
    assert "96.15%" in encoder.protections()[0]


def test_rare_values_come_out_as_frequent_ones_in_their_shares():
    column = array(["a"] * 300 + ["b"] * 100 + [f"rare {i}" for i in range(400)], "string")
    encoder = CategoryEncoder.fit(column, "string", np.arange(800), EncodingSettings())
    rare = np.full((4000, 1), RARE, np.int32)
    out = encoder.decode(rare, draw_of(np.arange(4000), 4000)).to_pylist()
    assert out.count("a") / 4000 == pytest.approx(0.75, abs=0.03)


def test_a_column_of_nothing_but_rare_values_says_that_it_is_written_as_null():
    column = array([f"v{i}" for i in range(30)], "string")
    encoder = CategoryEncoder.fit(column, "string", np.arange(30), EncodingSettings())
    assert encoder.decode(encoder.encode(column), draw_of(np.arange(30), 30)).null_count == 30
    assert encoder.protections() == ["every value is rare: the column is written as null"]


@pytest.mark.parametrize(
    ("data_type", "values"),
    [
        ("string", [f"v{i}" for i in range(30)]),
        ("binary", [hashlib.md5(bytes([i])).digest() for i in range(30)]),
        ("uuid", [str(uuid.UUID(int=i, version=4)) for i in range(30)]),
        ("int64", [i * 1000 for i in range(30)]),
        ("date", [datetime.date(2020, 1, 1 + i) for i in range(30)]),
        ("time", [datetime.time(0, i) for i in range(30)]),
    ],
)
def test_a_column_of_nothing_but_rare_values_that_must_not_be_null_is_written_anew(data_type, values):
    column = Column("x", Kind.CATEGORY, data_type, nullable=False)
    data = {"x": array(values, data_type)}
    encoder = TableEncoder.fit([column], data, {}, np.arange(30), EncodingSettings(), 1)
    tokens, _ = encoder.encode(data, {})
    out = encoder.decode(tokens, {}, {"x": draw_of(np.arange(30), 30)})["x"]
    assert (out.type, out.null_count) == (data["x"].type, 0)
    if data_type in ("string", "binary", "uuid"):
        assert not set(out.to_pylist()) & set(values)


@pytest.mark.parametrize("data_type", ["json", "other"])
def test_where_nothing_new_can_be_written_in_the_type_that_is_refused(data_type):
    column = Column("x", Kind.CATEGORY, data_type, nullable=False)
    with pytest.raises(Terminal, match="Column 'x' of kind category must have a value that enough entities have") as raised:
        TableEncoder.fit([column], {"x": array([f'"{i}"' for i in range(30)], data_type)}, {}, np.arange(30), EncodingSettings(), 1)
    assert "Next step: set privacy.rare_category_entities lower" in str(raised.value)


def test_protection_can_be_switched_off():
    column = array(["a", "b"], "string")
    encoder = CategoryEncoder.fit(column, "string", np.arange(2), EncodingSettings(rare_entities=1))
    assert encoder.decode(encoder.encode(column), draw_of(np.arange(2), 2)).to_pylist() == ["a", "b"]
    assert encoder.protections() == []


def test_frequent_values_have_the_lowest_tokens():
    column = array(["b"] * 10 + ["a"] * 20 + ["c"] * 6, "string")
    encoder = CategoryEncoder.fit(column, "string", np.arange(36), EncodingSettings())
    assert encoder.values.to_pylist() == ["a", "b", "c"]
