"""What every encoder promises, whatever the kind of column."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pyarrow as pa
import pytest

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.table import ENCODERS, TableEncoder
from synth_engine.schema import Kind
from synth_engine.schema.types import to_arrow
from tests.encode.subjects import ROWS, SUBJECTS, Fitted, Subject, array

every_encoder = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)


def nulls(column: pa.Array) -> list[bool]:
    return column.is_null().to_pylist()


def test_every_encoder_is_a_subject_of_the_contract():
    tags = {s.fit(s.column()).encoder.columns[0].encoder.tag for s in SUBJECTS}
    assert tags == {*ENCODERS, "relative"}


@every_encoder
def test_type_and_nulls_survive_the_round_trip(subject: Subject):
    column = subject.column()
    fitted = subject.fit(column)
    back = fitted.decode(fitted.encode(column))
    assert back.type == to_arrow(subject.data_type)
    assert nulls(back) == nulls(column)


@every_encoder
def test_tokens_stay_within_their_slots_even_for_values_never_seen(subject: Subject):
    fitted = subject.fit(subject.column(nulls=0))
    unseen = array([*subject.column(ROWS - 1, seed=99).to_pylist(), None], subject.data_type)
    tokens = fitted.encode(unseen)
    assert tokens.dtype == np.int32
    assert tokens.shape == (ROWS, len(fitted.encoder.sizes))
    assert (tokens >= 0).all()
    assert (tokens < np.array(fitted.encoder.sizes)).all()


@every_encoder
def test_any_tokens_within_the_slots_come_out_as_values_and_are_left_as_they_are(subject: Subject):
    fitted = subject.fit(subject.column())
    tokens = fitted.any_tokens(ROWS)
    kept = tokens.copy()
    out = fitted.decode(tokens)
    assert (out.type, len(out)) == (to_arrow(subject.data_type), ROWS)
    assert (tokens == kept).all()


@every_encoder
def test_an_encoder_read_from_its_json_does_the_same(subject: Subject):
    column = subject.column()
    fitted = subject.fit(column)
    again = Fitted(subject, TableEncoder.from_json(json.loads(json.dumps(fitted.encoder.to_json()))), fitted.base)
    tokens = fitted.encode(column)
    assert again.encoder.sizes == fitted.encoder.sizes
    assert (again.encode(column) == tokens).all()
    assert again.decode(tokens).equals(fitted.decode(tokens))
    assert again.decode(fitted.any_tokens(ROWS)).equals(fitted.decode(fitted.any_tokens(ROWS)))


@every_encoder
@pytest.mark.parametrize("batch_rows", [1, 7, 133])
def test_what_a_row_decodes_to_does_not_depend_on_the_batch(subject: Subject, batch_rows: int):
    fitted = subject.fit(subject.column())
    tokens = fitted.any_tokens(ROWS)
    cuts = [np.arange(ROWS)[at : at + batch_rows] for at in range(0, ROWS, batch_rows)]
    parts = [fitted.decode(tokens[rows], rows, ROWS) for rows in cuts]
    assert pa.concat_arrays(parts).equals(fitted.decode(tokens))


@every_encoder
def test_where_tokens_have_a_natural_order_each_has_a_place_in_it(subject: Subject):
    encoder = subject.fit(subject.column()).encoder
    assert len(encoder.positions()) == len(encoder.sizes)
    for size, places in zip(encoder.sizes, encoder.positions(), strict=True):
        if places is not None:
            assert len(places) == size
            known = places[~np.isnan(places)]
            assert known.min() >= 0
            assert known.max() <= 1


@every_encoder
@pytest.mark.parametrize("rows", [0, 30])
def test_a_column_without_values_comes_out_without_values(subject: Subject, rows: int):
    column = array([None] * rows, subject.data_type)
    fitted = subject.fit(column)
    again = Fitted(subject, TableEncoder.from_json(json.loads(json.dumps(fitted.encoder.to_json()))), fitted.base)
    out = again.decode(fitted.encode(column))
    assert (out.type, out.null_count, len(out)) == (to_arrow(subject.data_type), rows, rows)


@every_encoder
@pytest.mark.parametrize("rows", [1, 60])
def test_a_constant_column_comes_out_with_a_value_in_every_row_that_has_one(subject: Subject, rows: int):
    value = subject.value(np.random.default_rng(0))
    column = array([value] * rows, subject.data_type)
    fitted = subject.fit(column)
    out = fitted.decode(fitted.encode(column))
    assert (len(out), out.null_count) == (rows, 0)
    if subject.kind is Kind.CATEGORY and rows < 5 and subject.data_type in ("string", "binary"):
        assert value not in out.to_pylist()  # nobody but one entity has it: another is written in its place


def test_columns_of_kinds_that_are_not_modelled_have_no_slots_and_come_out_as_null():
    from synth_engine.schema import Column

    data = {"j": array(['{"a": 1}'] * 9, "json"), "n": array(list(range(9)), "int32")}
    columns = [Column("j", Kind.JSON, "json"), Column("n", Kind.INTEGER, "int32")]
    encoder = TableEncoder.fit(columns, data, {}, np.arange(9), EncodingSettings(), 0)
    tokens, learn = encoder.encode(data, {})
    assert tokens.shape == learn.shape == (9, 1)
    assert encoder.column_of_slot == [0]
    assert "json" not in encoder.protections()


def test_moments_stand_before_columns_that_are_told_relative_to_them():
    from synth_engine.schema import Column

    data = {"n": array(list(range(30)), "int32"), "d": array([datetime.date(2021, 1, 1 + row) for row in range(30)], "date")}
    columns = [Column("n", Kind.INTEGER, "int32"), Column("d", Kind.DATE, "date")]
    encoder = TableEncoder.fit(columns, data, {}, np.arange(30), EncodingSettings(), 0)
    assert [c.column.name for c in encoder.columns] == ["d", "n"]
