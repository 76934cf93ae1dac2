"""Strings and keys: the format of the real ones, none of their values, and unique where they have to be."""

from __future__ import annotations

import json
import re
import string
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.bloom import BloomFilter
from synth_engine.encode.keys import KeyGenerator
from synth_engine.encode.strings import StringModel, pattern_of
from synth_engine.encode.text import TextEncoder
from synth_engine.errors import Terminal
from tests.encode.subjects import array, draw_of

fully = settings(max_examples=60, deadline=None, derandomize=True)
texts = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=60)


def numbered(count: int, form: str = "CUST-{:06d}", step: int = 7) -> list[str]:
    return [form.format(i * step) for i in range(count)]


def keys(values: list[object], data_type: str, rows: int, seed: int = 5) -> list[object]:
    fitted = KeyGenerator.fit(array(values, data_type), data_type, EncodingSettings(), 1)
    again = KeyGenerator.from_json(json.loads(json.dumps(fitted.to_json())))
    made = again.generate(rows, seed)
    assert made.equals(fitted.generate(rows, seed))
    return made.to_pylist()


# -- Bloom filter ------------------------------------------------------------------------------------------------------


@fully
@given(texts)
def test_a_bloom_filter_knows_every_value_it_was_given(values):
    known = BloomFilter.of(values, len(values), "salt")
    again = BloomFilter.from_json(json.loads(json.dumps(known.to_json())))
    assert all(v in known and v in again for v in values)


def test_a_bloom_filter_takes_few_strange_values_for_known_and_holds_none_in_the_clear():
    known = BloomFilter.of(numbered(2000), 2000, "salt")
    strangers = [f"other {i}" for i in range(5000)]
    assert sum(s in known for s in strangers) < 50
    assert "CUST" not in json.dumps(known.to_json())


def test_an_empty_bloom_filter_knows_nothing():
    assert "a" not in BloomFilter.of([], 0, "salt")


# -- strings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "pattern"), [("CUST-07x", "AAAA-99a"), ("a b", "a a"), ("Ünï1", "Üaï9"), ("", "")])
def test_a_pattern_shows_the_class_of_each_character(value, pattern):
    assert pattern_of(value) == pattern


def test_strings_of_a_pattern_keep_it_with_its_constant_parts_and_are_unique_and_not_real():
    real = numbered(500)
    model = StringModel.fit(real, 5, None, "salt")
    made = model.draw(np.zeros(2000, np.int64), np.arange(2000), 2000, 3)
    assert all(re.fullmatch(r"CUST-\d{6}", m) for m in made)
    assert len(set(made)) == 2000
    assert not set(made) & set(real)


def test_a_string_does_not_depend_on_the_other_rows_of_the_call():
    for model in (
        StringModel.fit(numbered(300), 5, None, "s"),
        StringModel.fit(["some words of prose", "and more of it here"] * 40, 5, None, "s"),
    ):
        choices = np.zeros(100, np.int64)
        whole = model.draw(choices, np.arange(100), 100, 3)
        assert [model.draw(choices[:1], np.array([row]), 100, 3)[0] for row in range(100)] == whole


def test_patterns_come_in_their_shares_and_rare_ones_are_left_out():
    real = numbered(300) + numbered(100, "{:04d}x") + ["Secret!!"]
    model = StringModel.fit(real, 5, None, "salt")
    assert [p.share for p in model.patterns] == pytest.approx([0.75, 0.25])
    assert model.choice_of("0001x") == 1
    assert model.choice_of("Secret!!") == 0
    assert "Secret" not in json.dumps(model.to_json())


@fully
@given(st.lists(st.text(alphabet="abcde ", min_size=3, max_size=12), min_size=1, max_size=60), st.integers(3, 12))
def test_no_string_is_longer_than_its_type_or_real_or_empty(values, longest):
    values = [v[:longest] for v in values]
    model = StringModel.fit(values, 5, longest, "salt")
    made = model.draw(np.zeros(40, np.int64), np.arange(40), 40, 3)
    assert all(0 < len(m) <= longest for m in made)
    assert not set(made) & set(values)


def test_letters_that_few_values_have_are_never_written():
    real = [f"word{'s' * (i % 5)} number {i % 97 * 'x'}" for i in range(200)] + ["ЖЖЖ"] * 2
    model = StringModel.fit(real, 5, None, "salt")
    assert model.chain is not None
    assert "Ж" not in json.dumps(model.to_json(), ensure_ascii=False)


def test_text_keeps_nulls_and_writes_every_value_anew():
    real = [*numbered(200), *[None] * 50]
    encoder = TextEncoder.fit(array(real, "string(11)"), "string(11)", EncodingSettings(), 1)
    tokens = encoder.encode(array(real, "string(11)"))
    assert tokens[:, 0].tolist() == [1] * 200 + [0] * 50
    made = encoder.decode(tokens, draw_of(np.arange(250), 250)).to_pylist()
    assert made[200:] == [None] * 50
    assert not set(made[:200]) & set(real)


# -- keys --------------------------------------------------------------------------------------------------------------


@fully
@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=80, unique=True), st.integers(0, 300), st.integers(0, 9))
def test_integer_keys_are_unique_and_start_where_the_real_ones_do(values, rows, seed):
    made = keys(values, "int64", rows, seed)
    assert len(set(made)) == len(made) == rows
    assert all(m >= min(values) for m in made)


def test_integer_keys_are_as_dense_as_the_real_ones():
    assert keys(list(range(1, 101)), "int32", 100) == list(range(1, 101))
    assert keys(list(range(1, 101)), "int32", 300) == list(range(1, 301))
    thin = keys(list(range(0, 10_000, 10)), "int64", 1000)
    assert max(thin) < 10_000
    assert np.diff(thin).mean() == pytest.approx(10, abs=0.2)


@pytest.mark.parametrize(
    ("values", "data_type", "rows"),
    [
        ([-(2**63) + 7, 0, 2**63 - 9], "int64", 1000),
        ([2**60 + i for i in range(100)], "int64", 100),
        ([-(2**31), 0, 2**31 - 1], "int32", 5000),
        ([1, 2**15 - 1], "int16", 30_000),
    ],
    ids=["hashes", "dense and large", "the whole of int32", "the whole of int16"],
)
def test_integer_keys_are_unique_up_to_the_ends_of_their_type(values, data_type, rows):
    made = keys(values, data_type, rows)
    assert len(set(made)) == rows
    assert min(made) >= min(values)


def test_more_integer_keys_than_their_type_holds_are_refused():
    with pytest.raises(Terminal, match="70000 rows, 65536 values"):
        keys([1, 2, 3], "int16", 70_000)


def test_date_keys_are_unique_days():
    import datetime

    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(200)]
    assert keys(days, "date", 200) == days


@pytest.mark.parametrize("version", [1, 4, 5])
@pytest.mark.parametrize("data_type", ["uuid", "string"])
def test_uuid_keys_are_uuids_of_the_same_version(version, data_type):
    real = [str({1: uuid.uuid1, 4: uuid.uuid4, 5: lambda i=i: uuid.uuid5(uuid.NAMESPACE_DNS, str(i))}[version]()) for i in range(50)]
    made = keys(real, data_type, 400)
    assert {uuid.UUID(m).version for m in made} == {version}
    assert len(set(made)) == 400
    assert not set(made) & set(real)


def test_upper_case_uuids_stay_upper_case():
    assert all(
        m == m.upper() for m in keys([str(uuid.UUID(int=(i << 80) | (4 << 76) | (8 << 60))).upper() for i in range(11, 40)], "string", 60)
    )


@pytest.mark.parametrize("rows", [0, 1, 2500])
def test_string_keys_are_unique_keep_the_format_and_are_not_real(rows):
    real = numbered(500)
    made = keys(real, "string(11)", rows)
    assert len(set(made)) == len(made) == rows
    assert all(re.fullmatch(r"CUST-\d{6}", m) for m in made)
    assert not set(made) & set(real)


@fully
@given(texts, st.integers(0, 200))
def test_string_keys_are_unique_whatever_the_real_ones_look_like(values, rows):
    made = keys(values, "string", rows)
    assert len(set(made)) == rows


def letters(count: int) -> list[str]:
    return [a + b for a in string.ascii_uppercase for b in string.ascii_uppercase][:count]


def fitted_key(values: list[str], data_type: str) -> KeyGenerator:
    return KeyGenerator.fit(array(values, data_type), data_type, EncodingSettings(), 1)


@pytest.mark.parametrize("rows", [50, 200, 450])
def test_a_format_with_room_for_all_new_keys_is_kept_exactly(rows):
    made = keys(letters(200), "string", rows)
    assert all(re.fullmatch(r"[A-Z]{2}", m) for m in made)
    assert len(set(made)) == rows
    assert not set(made) & set(letters(200))
    assert fitted_key(letters(200), "string").changes(rows) == []


@pytest.mark.parametrize(("data_type", "longest"), [("string", 3), ("string(3)", 3), ("string(2)", 2)])
def test_a_format_without_room_for_new_keys_changes_and_says_so(data_type, longest):
    made = keys(letters(600), data_type, 600)
    assert len(set(made)) == 600
    assert not set(made) & set(letters(600))
    assert max(map(len, made)) == longest
    (change,) = fitted_key(letters(600), data_type).changes(600)
    assert change.startswith("100% of the values have a format with too little room for 600 new ones")
    assert fitted_key(letters(600), data_type).lack(600) is None


def test_keys_that_the_declared_length_has_no_room_for_are_a_lack():
    lack = fitted_key(letters(676), "string(2)").lack(10_000)
    assert lack == "10000 rows beside 676 real values in at most 2 characters"


def test_no_real_text_comes_out_of_a_format_that_is_full_of_real_ones():
    real = letters(676)
    encoder = TextEncoder.fit(array(real, "string"), "string", EncodingSettings(), 1)
    made = encoder.decode(np.ones((20, 1), np.int32), draw_of(np.arange(20), 20)).to_pylist()
    assert not set(made) & set(real)
    assert encoder.changes(20)


def test_a_format_too_short_for_the_rows_gets_longer():
    made = keys([f"A{i}" for i in range(10)], "string(6)", 500)
    assert len(set(made)) == 500
    assert max(map(len, made)) <= 6


@pytest.mark.parametrize("data_type", ["int64", "uuid", "string(8)", "date"])
def test_a_key_without_values_still_gets_unique_ones(data_type):
    made = keys([], data_type, 20)
    assert len(set(made)) == 20


def test_another_seed_gives_other_keys():
    real = numbered(100)
    assert keys(real, "string", 50, 1) != keys(real, "string", 50, 2)
