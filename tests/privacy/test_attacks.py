"""The privacy figures stay green for an honest twin and turn red when real rows are planted in it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from synth_engine.privacy.attacks import closest_records, membership
from synth_engine.schema import Column, Kind

COLUMNS = (
    Column("age", Kind.INTEGER, "int64"),
    Column("income", Kind.DECIMAL, "decimal(10,2)"),
    Column("city", Kind.CATEGORY, "string"),
    Column("joined", Kind.DATE, "date"),
    Column("member", Kind.BOOLEAN, "boolean"),
)


def people(seed: int, rows: int) -> pd.DataFrame:
    r = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": pd.Series(r.integers(18, 90, rows), dtype="Int64").mask(r.random(rows) < 0.1),
            "income": np.round(r.lognormal(10, 0.5, rows), 2),
            "city": r.choice(["Ulm", "Nice", "Lodz", None], rows),
            "joined": pd.to_datetime("2020-01-01") + pd.to_timedelta(r.integers(0, 900, rows), "D"),
            "member": r.random(rows) < 0.5,
        }
    )


TRAINING, HELD_OUT, HONEST = people(1, 2000), people(2, 400), people(3, 2000)


def with_planted(rows: int) -> pd.DataFrame:
    return pd.concat([HONEST.iloc[rows:], TRAINING.iloc[:rows]], ignore_index=True)


def test_an_honest_twin_is_ok():
    figures = closest_records(TRAINING, HELD_OUT, HONEST, COLUMNS)
    assert figures.verdict == "ok" and figures.reasons == ()
    assert figures.copies_synthetic == figures.copies_held_out == 0.0
    assert figures.closer_to_training == pytest.approx(0.5, abs=0.1)
    assert figures.distance_synthetic["p50"] == pytest.approx(figures.distance_held_out["p50"], rel=0.2)


def test_ten_percent_of_planted_real_rows_turn_the_figures_red():
    figures = closest_records(TRAINING, HELD_OUT, with_planted(200), COLUMNS)
    assert figures.verdict == "warn"
    assert figures.copies_synthetic == pytest.approx(0.1)
    assert "10.00%" in figures.reasons[0]


def test_near_copies_are_seen_by_their_distance_alone():
    near = TRAINING.copy()
    near["income"] = near["income"] + 0.01
    figures = closest_records(TRAINING.iloc[:400], HELD_OUT, near.iloc[:400], COLUMNS)
    assert figures.copies_synthetic == 0.0
    assert figures.closer_to_training > 0.9 and figures.verdict == "warn"


def test_a_copy_is_found_whatever_types_hold_the_values():
    as_objects = TRAINING.assign(
        age=TRAINING["age"].astype(float), joined=TRAINING["joined"].dt.date, member=TRAINING["member"].astype(object)
    )
    assert closest_records(TRAINING, HELD_OUT, as_objects, COLUMNS).copies_synthetic == 1.0


def test_rows_that_repeat_by_nature_are_judged_against_held_out_rows():
    coarse = COLUMNS[2:3]
    figures = closest_records(TRAINING, HELD_OUT, HONEST, coarse)
    assert figures.copies_synthetic == figures.copies_held_out == 1.0
    assert figures.verdict == "ok"


def test_too_few_held_out_rows_give_no_verdict():
    assert closest_records(TRAINING, HELD_OUT.iloc[:10], HONEST, COLUMNS).verdict == "unknown"
    assert closest_records(TRAINING, HELD_OUT.iloc[:0], with_planted(200), COLUMNS).verdict == "unknown"


def test_a_table_of_keys_only_gives_no_verdict():
    assert closest_records(TRAINING, HELD_OUT, HONEST, ()).verdict == "unknown"


def test_figures_are_reproducible_and_json():
    first, second = (closest_records(TRAINING, HELD_OUT, HONEST, COLUMNS, seed=5) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first.to_dict()))["verdict"] == "ok"


def test_an_honest_twin_does_not_tell_who_was_learned_from():
    assert membership(TRAINING, HELD_OUT, HONEST, COLUMNS) == pytest.approx(0.5, abs=0.05)


def test_planted_rows_tell_who_was_learned_from():
    assert membership(TRAINING[:400], HELD_OUT, pd.concat([HONEST[400:], TRAINING[:400]]), COLUMNS) > 0.9


def test_too_few_rows_tell_nothing_about_membership():
    assert membership(TRAINING, HELD_OUT[:10], HONEST, COLUMNS) is None
    assert membership(TRAINING, HELD_OUT, HONEST, ()) is None


def test_planted_rows_are_seen_however_large_the_tables_are():
    training, held_out, honest = people(4, 20_000), people(5, 20_000), people(6, 20_000)
    planted = pd.concat([honest[2_000:], training[:2_000]], ignore_index=True)
    assert closest_records(training, held_out, planted, COLUMNS).closer_to_training > 0.53


def test_rows_of_one_number_are_as_close_to_either_side():
    income = [Column("income", Kind.DECIMAL, "float64")]
    sides = [pd.DataFrame({"income": np.random.default_rng(seed).normal(size=2000)}) for seed in range(3)]
    assert closest_records(*sides, income).closer_to_training == pytest.approx(0.5, abs=0.04)
