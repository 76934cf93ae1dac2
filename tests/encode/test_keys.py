"""Values of keys: integers keep their gaps, UUIDs their version, counters count, check digits are right, given patterns hold."""

from __future__ import annotations

import json
import re
import uuid
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.config import ColumnSettings
from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.counting import Numbering
from synth_engine.encode.keys import KeyGenerator
from synth_engine.encode.text import TextEncoder, UuidEncoder
from synth_engine.encode.uuids import UuidForm
from synth_engine.errors import Terminal
from synth_engine.schema.check_digits import complete, holds
from synth_engine.schema.patterns import read_pattern
from tests.encode.subjects import array, draw_of

fully = settings(max_examples=60, deadline=None, derandomize=True)


def fitted(values: list[object], data_type: str, **wanted: object) -> KeyGenerator:
    keys = KeyGenerator.fit(array(values, data_type), data_type, EncodingSettings(), 1, ColumnSettings(**wanted))
    return KeyGenerator.from_json(json.loads(json.dumps(keys.to_json())))


def made(values: list[object], data_type: str, rows: int, seed: int = 5, start: int | None = None, **wanted: object) -> list[object]:
    return fitted(values, data_type, **wanted).generate(rows, seed, start).to_pylist()


# -- whole numbers -----------------------------------------------------------------------------------------------------


def with_deleted_rows(rows: int = 5000, share: float = 0.2) -> np.ndarray:
    """Numbers as a sequence leaves them: some rows are gone, and once a whole block is."""
    rng = np.random.default_rng(1)
    numbers = np.flatnonzero(rng.random(rows) > share) + 1
    return np.where(numbers > rows // 2, numbers + 100_000, numbers)


@pytest.mark.parametrize("scale", [1, 3])
def test_the_gaps_of_integers_come_in_the_shares_of_the_source(scale):
    real = with_deleted_rows()
    twin = np.array(made(real.tolist(), "int64", scale * len(real)))
    for gap in (1, 2, 3):
        assert (np.diff(twin) == gap).mean() == pytest.approx((np.diff(real) == gap).mean(), abs=0.01)
    assert twin[0] == real[0]
    assert twin[-1] - twin[0] == pytest.approx(scale * (real[-1] - real[0]), rel=0.02)


def test_integers_of_a_regular_step_keep_it():
    assert made(list(range(10, 1000, 5)), "int32", 50) == list(range(10, 260, 5))


def test_a_single_wide_gap_is_not_kept_to_the_number():
    keys = fitted([*range(1, 101), *range(77_777_778, 77_777_878)], "int64")
    assert keys.numbering is not None
    assert 77_777_678 not in [gap for gap, _ in (*keys.numbering.gaps, *keys.numbering.wide)]


def test_gaps_wider_than_64_bits_are_counted_exactly():
    ends = np.array([-(2**63), -(2**63) + 1, 2**63 - 1])
    assert Numbering.fit(ends, 5, -(2**63), 2**63 - 1).wide == ((1, 0.5), (64, 0.5))
    out = made(ends.tolist(), "int64", 3)
    assert len(set(out)) == 3 and min(out) >= ends[0] and max(out) <= ends[-1]


@pytest.mark.parametrize("data_type", ["decimal(38,0)", "decimal(38,2)"])
def test_large_decimals_are_counted_exactly(data_type):
    real = [Decimal(10**30 + i) for i in range(100)]
    assert made(real, data_type, 100) == real
    assert len(set(made(real, data_type, 500))) == 500


@fully
@given(st.lists(st.integers(-(10**37), 10**37), min_size=1, max_size=60, unique=True), st.integers(0, 200))
def test_decimals_are_unique_whatever_their_range(values, rows):
    twin = made([Decimal(value) for value in values], "decimal(38,0)", rows)
    assert len(set(twin)) == len(twin) == rows


def test_keys_start_where_they_are_told_to_and_count_up():
    assert made([3, 9, 12, 40], "int32", 5, start=1000) == [1000, 1001, 1002, 1003, 1004]
    assert made([Decimal(10**30)], "decimal(38,0)", 2, start=10**31) == [Decimal(10**31), Decimal(10**31 + 1)]
    assert made([f"C-{i:04d}" for i in range(50)], "string", 2, start=77) == ["C-0077", "C-0078"]


def test_keys_that_start_too_high_for_their_type_are_refused():
    with pytest.raises(Terminal, match="32767 is the largest"):
        made([1, 2, 3], "int16", 10, start=32_760)


# -- strings that count ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 900, 2000])
def test_a_padded_counter_stays_one(rows):
    real = [f"CUST-{i:06d}" for i in range(1, 901)]
    assert made(real, "string(11)", rows) == [f"CUST-{i:06d}" for i in range(1, rows + 1)]


@pytest.mark.parametrize("form", ["{}", "A{}", "2024-{:03d}-x", "{:010d}"])
def test_a_counter_is_found_wherever_its_number_stands(form):
    assert made([form.format(i) for i in range(7, 207)], "string", 300) == [form.format(i) for i in range(7, 307)]


def test_a_counter_that_needs_more_digits_says_so():
    keys = fitted([f"{i:03d}" for i in range(1, 901)], "string(4)")
    assert keys.changes(900) == []
    assert keys.changes(2000) == ["the number that counts the rows takes more digits for 2000 of them"]
    assert keys.lack(10_001) == "10001 rows, room for 10000 numbers"


def test_strings_whose_numbers_do_not_follow_one_another_are_no_counter():
    assert fitted([f"CUST-{i * 7:06d}" for i in range(500)], "string").form == "strings"
    assert fitted([f"{'AB'[i % 2]}-{i:06d}" for i in range(500)], "string").form == "strings"


# -- UUIDs -------------------------------------------------------------------------------------------------------------


def version_7(count: int, step: int = 60_000) -> list[str]:
    return [str(uuid.UUID(int=(1_700_000_000_000 + i * step) << 80 | 7 << 76 | 2 << 62 | i)) for i in range(count)]


@pytest.mark.parametrize("upper", [False, True])
def test_uuids_of_version_7_rise_with_time_and_stay_in_the_time_of_the_source(upper):
    real = [text.upper() if upper else text for text in version_7(300)]
    twin = made(real, "string", 1000)
    assert twin == sorted(twin)
    assert {(uuid.UUID(t).version, uuid.UUID(t).variant) for t in twin} == {(7, uuid.RFC_4122)}
    assert len(set(twin)) == 1000
    assert all(t == (t.upper() if upper else t.lower()) for t in twin)
    assert min(real)[:13] <= min(twin)[:13] <= max(twin)[:13] <= max(real)[:13]


def test_uuids_of_version_1_are_of_the_time_of_the_source():
    real = [str(uuid.uuid1()) for _ in range(50)]
    times = sorted(uuid.UUID(t).time for t in real)
    assert all(times[0] <= uuid.UUID(t).time <= times[-1] for t in made(real, "uuid", 200))


@pytest.mark.parametrize("version", [3, 4, 5, 6, 7, 8])
def test_uuids_that_are_no_key_keep_version_and_case(version):
    real = [f"{i:08X}-0000-{version}000-A000-{i:012X}" for i in range(1, 60)]
    form = UuidForm.of(real, 5)
    encoder = UuidEncoder.from_json(json.loads(json.dumps(UuidEncoder("string", form).to_json())))
    twin = encoder.decode(encoder.encode(array(real, "string")), draw_of(np.arange(59), 59)).to_pylist()
    assert {uuid.UUID(t).version for t in twin} == {version}
    assert all(t == t.upper() for t in twin)
    assert len(set(twin)) == 59


# -- check digits ------------------------------------------------------------------------------------------------------

BODIES = {"luhn": "45{:013d}", "ean13": "40{:010d}", "isbn10": "3{:08d}", "mod97": "DE{:018d}"}


@pytest.mark.parametrize("rule", list(BODIES))
@pytest.mark.parametrize("named", [False, True])
def test_check_digits_are_right_in_all_new_values(rule, named):
    real = [complete(rule, BODIES[rule].format(i * 7919)) for i in range(500)]
    twin = made(real, "string", 3000, **({"check_digit": rule} if named else {}))
    assert all(holds(rule, value) for value in twin)
    assert len(set(twin)) == 3000
    assert not set(twin) & set(real)
    assert {len(value) for value in twin} == {len(real[0])}


def test_a_counter_with_a_check_digit_counts_before_it():
    form = [complete("luhn", f"{i:07d}") for i in range(1, 400)]
    assert made(form[:300], "string(8)", 399) == form


@pytest.mark.parametrize("rule", ["luhn", "ean13"])
def test_check_digits_of_integers_are_right(rule):
    real = [int(complete(rule, str(40_063_813 + 13 * i))) for i in range(400)]
    twin = made(real, "int64", 900)
    assert all(holds(rule, str(value)) for value in twin)
    assert len(set(twin)) == 900


def test_a_text_with_check_digits_keeps_them_though_its_type_has_little_room():
    real = [complete("luhn", f"{i * 13:06d}") for i in range(300)]
    encoder = TextEncoder.fit(array(real, "string(7)"), "string(7)", EncodingSettings(), 1, unique=True)
    encoder = TextEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    twin = encoder.decode(np.ones((5000, 1), np.int32), draw_of(np.arange(5000), 5000)).to_pylist()
    assert all(holds("luhn", value) and len(value) == 7 for value in twin)
    assert len(set(twin)) == 5000


# -- given patterns ----------------------------------------------------------------------------------------------------


@fully
@given(
    st.sampled_from(["CUST-[0-9]{6}", "(A|AB)?[0-9A-F]{4,5}", r"[a-z]{2}\d{3}(-[xyz])?", "[A-Z]{3}|[0-9]{4}"]),
    st.integers(0, 1500),
    st.integers(0, 9),
)
def test_keys_of_a_given_pattern_match_it_differ_and_are_not_real(pattern, rows, seed):
    real = [read_pattern(pattern).nth(i * 31) for i in range(40)]
    twin = made(real, "string", rows, seed, pattern=pattern)
    assert all(re.fullmatch(pattern, value) for value in twin)
    assert len(set(twin)) == len(twin) == rows
    assert not set(twin) & set(real)


def test_a_pattern_of_many_strings_is_used_in_its_whole_width():
    real = [f"{i:020x}" for i in range(99)]
    assert len({value[:2] for value in made(real, "string", 500, pattern="[0-9a-f]{40}")}) > 50


def test_a_given_pattern_wins_over_what_the_values_look_like():
    for real in ([f"C{i:05d}" for i in range(99)], [str(uuid.uuid4()) for _ in range(99)], ["some words"] * 3):
        assert all(re.fullmatch("K[0-9]{4}", value) for value in made(real, "string", 50, pattern="K[0-9]{4}"))


def test_a_given_pattern_may_be_used_up_to_its_last_new_string():
    real = [f"{i:02d}" for i in range(20)]
    assert set(made(real, "string", 80, pattern="[0-9]{2}")) == {f"{i:02d}" for i in range(20, 100)}
    assert fitted(real, "string", pattern="[0-9]{2}").lack(80) is None
    assert fitted(real, "string", pattern="[0-9]{2}").lack(81) == "81 rows beside 20 real values in a pattern of 100 strings"


def test_a_given_pattern_and_check_digits_go_together():
    real = [complete("ean13", f"40{i * 7919:010d}") for i in range(300)]
    twin = made(real, "string", 800, pattern="(97[89]|40[0-7])[0-9]{10}", check_digit="ean13")
    assert all(re.fullmatch("(97[89]|40[0-7])[0-9]{10}", value) and holds("ean13", value) for value in twin)
    assert len(set(twin)) == 800


def test_a_unique_text_of_a_given_pattern_matches_it_and_keeps_its_nulls():
    wanted = ColumnSettings(pattern="[A-Z][0-9]{3}")
    encoder = TextEncoder.fit(array(["x"] * 9, "string"), "string", EncodingSettings(), 1, wanted, unique=True)
    tokens = np.tile([[1], [0]], (1000, 1)).astype(np.int32)
    twin = encoder.decode(tokens, draw_of(np.arange(2000), 2000)).to_pylist()
    assert twin[1::2] == [None] * 1000
    assert all(re.fullmatch("[A-Z][0-9]{3}", value) for value in twin[::2])
    assert len(set(twin[::2])) == 1000


# -- kept values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "data_type"),
    [(["DE", "FR", "IT"], "string(2)"), ([1999, 2005], "int16"), ([Decimal("1.50"), Decimal("2.25")], "decimal(5,2)")],
)
def test_values_that_are_kept_are_the_real_ones(values, data_type):
    keys = fitted(values[::-1], data_type, keep_values=True)
    assert keys.generate(len(values), 1).to_pylist() == values
    assert set(keys.generate(1, 1).to_pylist()) < set(values)
    assert keys.lack(len(values)) is None
    assert keys.lack(9) == f"9 rows, {len(values)} values that are kept as they are"
    assert keys.protections() == ["values kept as they are, by settings"]


def test_real_values_are_in_a_model_only_if_they_are_to_be_kept():
    real = [f"{a}{b}" for a in "ABCDE" for b in "QRSTU"]
    assert "AQ" in json.dumps(fitted(real, "string", keep_values=True).to_json()["facts"])
    assert not any(value in json.dumps(fitted(real, "string").to_json()["strings"]["patterns"]) for value in real)
