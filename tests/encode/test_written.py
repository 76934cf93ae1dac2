"""Moments that stand in integers or text are read as what they are, and written back in the same type and format."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.keys import KeyGenerator
from synth_engine.encode.table import TableEncoder
from synth_engine.encode.written import MOMENT_OF_FORMAT, format_that_reads, formats_of, read, with_written_moments, write
from synth_engine.errors import ConfigurationError
from synth_engine.schema import Column, Kind, Schema, Table
from synth_engine.schema.types import base_type, to_arrow
from tests.encode.subjects import array, draw_of

MOMENTS = {"date": st.dates(datetime.date(1000, 1, 1)), "timestamp": st.datetimes(datetime.datetime(1000, 1, 1)), "time": st.times()}


def told(values: dict[str, list[object]], columns: list[Column]) -> Schema:
    data = pa.table({c.name: array(values[c.name], c.data_type) for c in columns})
    return with_written_moments(Schema.of([Table("t", tuple(columns))]), lambda _, names: data.select(names).to_batches(7))


@pytest.mark.parametrize("how", MOMENT_OF_FORMAT)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_what_is_written_is_read_again_and_written_the_same(how: str, data: st.DataObject) -> None:
    moments = data.draw(st.lists(st.none() | MOMENTS[MOMENT_OF_FORMAT[how]], max_size=10))
    text = write(pa.array(moments, to_arrow(MOMENT_OF_FORMAT[how])), how, "string")
    assert read(text, how).null_count == moments.count(None)
    assert write(read(text, how), how, "string").equals(text)


@pytest.mark.parametrize(
    ("value", "how"),
    [
        (20140231, "%Y%m%d"),
        (20141301, "%Y%m%d"),
        (201405, "%Y%m%d"),
        (201405261, "%Y%m%d"),
        (-20140526, "%Y%m%d"),
        (0, "%Y%m%d"),
        ("2014-5-26", "%Y-%m-%d"),
        (" 2014-05-26", "%Y-%m-%d"),
        ("2014-02-29", "%Y-%m-%d"),
        ("24:00:00", "%H:%M:%S"),
        ("7:00", "%H:%M"),
    ],
)
def test_what_is_not_exactly_in_the_format_is_not_read(value: object, how: str) -> None:
    assert read(pa.array([value]), how).null_count == 1


@pytest.mark.parametrize(
    ("kind", "data_type", "value", "found"),
    [
        (Kind.DATE, "int64", 20140526, "date(int64 as %Y%m%d)"),
        (Kind.TIMESTAMP, "int32", 20140526, "date(int32 as %Y%m%d)"),
        (Kind.DATE, "string", "20140526", "date(string as %Y%m%d)"),
        (Kind.DATE, "string(10)", "2014-05-26", "date(string(10) as %Y-%m-%d)"),
        (Kind.DATE, "string", "2014-05-26 10:00:00", "timestamp(string as %Y-%m-%d %H:%M:%S)"),
        (Kind.TIMESTAMP, "string", "2014-05-26T10:00:00Z", "timestamp(string as %Y-%m-%dT%H:%M:%SZ)"),
        (Kind.TIME, "string", "10:00", "time(string as %H:%M)"),
        (Kind.INTEGER, "int64", 20140526, "int64"),
        (Kind.TEXT, "string", "2014-05-26", "string"),
        (Kind.DATE, "date", datetime.date(2014, 5, 26), "date"),
    ],
)
def test_the_format_is_found_in_the_values_where_the_kind_asks_for_it(kind: Kind, data_type: str, value: object, found: str) -> None:
    assert told({"x": [value, None] * 5}, [Column("x", kind, data_type)]).tables["t"].column("x").data_type == found


def test_a_column_of_nulls_may_be_of_any_moment() -> None:
    assert base_type(told({"x": [None] * 3}, [Column("x", Kind.DATE, "int64")]).tables["t"].column("x").data_type) == "date"


def test_columns_that_do_not_hold_moments_are_refused_all_at_once_without_their_values() -> None:
    columns = [Column("d", Kind.DATE, "int64"), Column("e", Kind.TIME, "string"), Column("n", Kind.INTEGER, "int64")]
    values = {"d": [20140526] * 15 + [4711, *[None] * 4], "e": ["10:00"] * 10 + ["25:10"] * 10, "n": list(range(20))}
    with pytest.raises(ConfigurationError) as raised:
        told(values, columns)
    first, second = raised.value.faults
    assert first == (
        "columns.t.d: every value of kind date in type int64 must be written in one of: yyyymmdd. "
        "Found: 6.25% of the values (1 of 16) are not yyyymmdd. Next step: give it kind integer, or correct these values in the source."
    )
    assert second.startswith("columns.t.e: every value of kind time in type string must be written in one of: hh:mm:ss, hh:mm.")
    assert "50.00% of the values (10 of 20) are not hh:mm." in second
    assert "4711" not in first and "25:10" not in second


def test_no_one_format_means_none_of_them() -> None:
    column = Column("x", Kind.DATE, "string")
    assert format_that_reads(pa.array(["20140526", "2014-05-26"]), formats_of(column)) is None


def test_every_integer_that_comes_out_is_a_day_of_the_calendar() -> None:
    rng = np.random.default_rng(0)
    first = datetime.date(2014, 1, 1)
    days = [int(f"{first + datetime.timedelta(days=int(d)):%Y%m%d}") for d in rng.integers(0, 400, 2000)]
    column = Column("x", Kind.DATE, "date(int64 as %Y%m%d)")
    data = {"x": array(days, "int64")}
    encoder = TableEncoder.fit([column], data, {}, np.arange(2000), EncodingSettings(bins=16), 0)
    tokens, _ = encoder.encode(data, {})
    out = encoder.decode(tokens, {}, {"x": draw_of(np.arange(2000), 2000)})["x"].to_pylist()
    assert len({datetime.datetime.strptime(str(value), "%Y%m%d").month for value in out}) == 12
    assert min(out) >= 20140101 and max(out) <= 20150205


def test_keys_of_such_a_type_are_different_days() -> None:
    real = [20140501 + day for day in range(31)]
    keys = KeyGenerator.fit(array(real, "int64"), "date(int64 as %Y%m%d)", EncodingSettings(), 1)
    made = KeyGenerator.from_json(json.loads(json.dumps(keys.to_json()))).generate(100, 3)
    assert made.type == pa.int64()
    assert read(made, "%Y%m%d").null_count == 0
    assert len(set(made.to_pylist())) == 100
