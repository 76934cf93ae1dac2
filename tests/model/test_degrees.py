"""Degrees: exact in their sum, childless parents kept, quotas of unique keys respected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.errors import Terminal
from synth_engine.model.degrees import DegreeModel, _classes, adjusted, tempered

fully = settings(max_examples=80, deadline=None, derandomize=True)
small = st.lists(st.integers(0, 40), min_size=1, max_size=120)


def blank(parents: int) -> np.ndarray:
    return np.zeros((parents, 0), np.int32)


def fit(degrees: np.ndarray, unique: bool = False, features: np.ndarray | None = None) -> DegreeModel:
    return DegreeModel.fit(degrees, blank(len(degrees)) if features is None else features, None, unique, 5, 1)


@fully
@given(small, st.integers(1, 200), st.integers(0, 3000))
def test_degrees_sum_exactly_to_the_rows_asked_for(degrees, parents, total):
    drawn = fit(np.array(degrees)).draw(blank(parents), None, total, 3, "child.parent_id->parent")
    assert len(drawn) == parents
    assert drawn.sum() == total
    assert (drawn >= 0).all()


@fully
@given(small, st.integers(0, 5000), st.none() | st.just(1))
def test_adjusted_degrees_sum_to_the_total_and_nobody_exceeds_the_most(degrees, total, most):
    degrees = np.sort(np.minimum(degrees, 10**9 if most is None else most))
    total = total if most is None else min(total, len(degrees) * most)
    out = adjusted(degrees, total, most)
    assert out.sum() == total
    assert (out >= 0).all()
    assert most is None or (out <= most).all()
    assert (np.diff(out) >= 0).all()


@fully
@given(small.filter(any), st.integers(1, 5000))
def test_nobody_moves_by_more_than_one_from_his_share(degrees, total):
    degrees = np.sort(np.array(degrees))
    share = degrees * (total / degrees.sum())
    assert np.abs(adjusted(degrees, total, None) - share).max() <= 1 + 1e-6


def test_degrees_that_fit_already_are_left_as_they_are():
    degrees = np.array([0, 1, 5])
    assert adjusted(degrees, 6, None) is degrees


def test_as_many_parents_and_rows_as_in_the_source_have_the_degrees_of_the_source():
    degrees = np.random.default_rng(0).poisson(1.2, 100)
    drawn = fit(degrees).draw(blank(100), None, int(degrees.sum()), 3, "k")
    assert sorted(drawn) == sorted(degrees)


def test_childless_parents_stay_as_many_when_the_table_grows():
    degrees = np.r_[np.zeros(70, int), np.full(30, 4)]
    drawn = fit(degrees).draw(blank(1000), None, 1200, 3, "k")
    assert np.count_nonzero(drawn == 0) == 700


def test_childless_codes_get_no_children():
    degrees = np.tile([0, 3], 100)
    code = (degrees > 0).astype(np.int32)
    model = DegreeModel.fit(degrees, code[:, None], code, False, 5, 1)
    met = np.random.default_rng(0).permutation(code)
    assert not model.draw(met[:, None], met, 300, 3, "k")[met == 0].any()


def test_degrees_follow_what_is_known_of_the_parent():
    rng = np.random.default_rng(0)
    rich = rng.integers(0, 2, 2000).astype(np.int32)
    degrees = rng.poisson(np.where(rich, 6, 1))
    model = fit(degrees, features=rich[:, None])
    assert model.booster is not None
    drawn = model.draw(rich[:, None], None, int(degrees.sum()), 3, "k")
    assert drawn[rich == 1].mean() == pytest.approx(6, abs=0.5)
    assert drawn[rich == 0].mean() == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize(("parents", "hubs"), [(20_000, 12), (400, 20), (400, 12), (400, 9), (400, 6)])
def test_the_few_hubs_of_a_table_are_those_that_look_like_them(parents, hubs):
    rng = np.random.default_rng(0)
    hub = (np.arange(parents) < hubs).astype(np.int32)
    degrees = np.where(hub, rng.integers(300, 900, parents), rng.geometric(0.5, parents))
    met = rng.permutation(hub)
    drawn = fit(degrees, features=hub[:, None]).draw(met[:, None], None, int(degrees.sum()), 3, "k")
    assert np.count_nonzero(drawn[met == 1] >= 300) >= hubs / 2


def test_of_more_parents_than_tell_some_do_whatever_their_order(monkeypatch):
    monkeypatch.setattr("synth_engine.model.degrees.MOST_AT_STEP", 500)
    rng = np.random.default_rng(0)
    outward = np.tile([0, 1], 5000).astype(np.int32)  # every other row is of one kind: every twentieth would be of one alone
    degrees = (rng.random(10_000) < np.where(outward, 0.9, 0.1)).astype(int)
    drawn = fit(degrees, features=outward[:, None]).draw(outward[:, None], None, int(degrees.sum()), 3, "k")
    assert drawn[outward == 1].mean() == pytest.approx(0.9, abs=0.05)
    assert drawn[outward == 0].mean() == pytest.approx(0.1, abs=0.05)


def test_the_few_hubs_are_found_where_only_some_parents_tell(monkeypatch):
    monkeypatch.setattr("synth_engine.model.degrees.MOST_AT_STEP", 2000)
    rng = np.random.default_rng(0)
    hub = (rng.random(20_000) < 0.005).astype(np.int32)
    degrees = np.where(hub, rng.integers(100, 200, 20_000), rng.geometric(0.5, 20_000))
    drawn = fit(degrees, features=hub[:, None]).draw(hub[:, None], None, int(degrees.sum()), 3, "k")
    assert (drawn[hub == 1] >= 100).mean() > 0.7


def test_what_one_parent_alone_is_like_tells_nothing_of_others_who_look_like_it():
    rng = np.random.default_rng(0)
    degrees = (rng.pareto(1.2, 3000) * 3).astype(int)
    alone = (np.arange(3000) == 7).astype(np.int32)
    degrees[7] = 50_000
    features = np.stack([alone, rng.integers(0, 10, 3000)], axis=1).astype(np.int32)
    model = fit(degrees, features=features)
    met = np.stack([np.arange(3000) % 2, rng.integers(0, 10, 3000)], axis=1).astype(np.int32)
    drawn = model.draw(met, None, int(degrees.sum()), 3, "k")
    high = drawn >= np.quantile(drawn, 0.98)
    assert high[met[:, 0] == 1].mean() < 2 * high[met[:, 0] == 0].mean()


@fully
@given(st.lists(st.integers(0, 10_000) | st.integers(0, 12), max_size=400))
def test_classes_of_degrees_begin_with_none_and_have_as_many_parents_as_protect_a_value(degrees):
    lower = _classes(np.array(degrees, dtype=np.int64), 5)
    assert lower[0] == 0
    assert (np.diff(lower) > 0).all()
    there = np.bincount(np.searchsorted(lower, degrees, side="right") - 1, minlength=len(lower))
    assert len(lower) == 1 or there.min() >= 5


def test_a_unique_key_gives_nobody_two_children():
    model = fit(np.array([1, 0, 1, 1]), unique=True)
    assert model.draw(blank(50), None, 49, 3, "k").max() == 1
    with pytest.raises(Terminal, match=r"seat\.ticket_id->ticket is unique.*51 rows for 50 parents"):
        model.draw(blank(50), None, 51, 3, "seat.ticket_id->ticket")


def test_rows_without_any_parent_to_refer_to_are_refused():
    with pytest.raises(Terminal, match=r"orders\.user_id->users needs parents"):
        fit(np.array([1, 2])).draw(blank(0), None, 3, 3, "orders.user_id->users")


def test_no_parents_and_no_rows_is_fine():
    assert len(fit(np.array([1, 2])).draw(blank(0), None, 0, 3, "k")) == 0


def test_parents_learned_from_an_empty_table_share_the_rows_evenly():
    assert fit(np.zeros(0, np.int64)).draw(blank(4), None, 6, 3, "k").tolist().count(1) == 2


def test_the_highest_degrees_of_a_large_table_are_replaced_by_their_mean():
    degrees = np.r_[np.ones(1000, int), 10_000]
    model = fit(degrees)
    assert model.values.max() < 10_000
    assert (model.values * model.counts).sum() == degrees.sum()


def test_a_model_read_from_its_json_draws_the_same():
    rng = np.random.default_rng(0)
    features = rng.integers(0, 4, (500, 2)).astype(np.int32)
    model = fit(rng.poisson(features[:, 0]), features=features)
    assert model.booster is not None
    again = DegreeModel.from_json(model.to_json(), model.booster.model_to_string())
    assert (again.draw(features, None, 700, 3, "k") == model.draw(features, None, 700, 3, "k")).all()


# -- temperature -----------------------------------------------------------------------------------------------------------

TEMPERATURES = (0.5, 0.8, 1, 1.5, 3)


def gini(degrees: np.ndarray) -> float:
    """0 if all are equal, near 1 if one has all."""
    line = np.sort(degrees)
    return float((2 * np.arange(1, len(line) + 1) - len(line) - 1) @ line / (len(line) * line.sum()))


@pytest.mark.parametrize(
    "degrees",
    [
        np.random.default_rng(0).poisson(4, 400),
        np.random.default_rng(1).negative_binomial(1, 0.2, 500),
        (np.random.default_rng(2).pareto(1.2, 600) * 3).astype(int),
        np.r_[np.zeros(700, int), np.full(300, 4)],
        np.r_[np.zeros(30, int), 5, 80, 3000],
        np.random.default_rng(3).poisson(0.4, 900),
    ],
    ids=["even", "geometric", "heavy tail", "mostly childless", "hubs", "few children"],
)
@pytest.mark.parametrize("growth", [1, 3])
def test_a_higher_temperature_spreads_children_more_evenly_and_their_number_stays(degrees, growth):
    model, total = fit(degrees), growth * int(degrees.sum())
    drawn = [model.draw(blank(len(degrees)), None, total, 3, "k", t) for t in TEMPERATURES]
    assert {int(d.sum()) for d in drawn} == {total}
    assert all((d >= 0).all() for d in drawn)
    found = [gini(d) for d in drawn]
    assert all(hotter <= colder for colder, hotter in zip(found, found[1:], strict=False))
    assert found[2] > found[-1]
    assert (found[0] > found[2]) == (len(np.unique(degrees[degrees > 0])) > 1)  # where all have as many, nobody gets more


def test_a_temperature_of_one_changes_nothing():
    degrees = np.random.default_rng(0).poisson(2, 300)
    for total in (0, 100, int(degrees.sum()), 5000):
        model = fit(degrees)
        assert (model.draw(blank(300), None, total, 3, "k", 1.0) == model.draw(blank(300), None, total, 3, "k")).all()
    assert tempered(degrees, 50, 1.0) is degrees


def test_childless_parents_get_children_only_when_it_is_hot():
    degrees = np.r_[np.zeros(50, int), np.full(50, 6)]
    cold, hot = (fit(degrees).draw(blank(100), None, 300, 3, "k", t) for t in (0.5, 3))
    assert np.count_nonzero(cold == 0) == 50
    assert np.count_nonzero(hot == 0) == 0


@fully
@given(small, st.integers(1, 200), st.integers(0, 3000), st.floats(1e-6, 1e6), st.booleans())
def test_degrees_sum_to_the_rows_asked_for_at_any_temperature(degrees, parents, total, temperature, unique):
    model = fit(np.minimum(degrees, 1) if unique else np.array(degrees), unique)
    total = min(total, parents) if unique else total
    drawn = model.draw(blank(parents), None, total, 3, "k", temperature)
    assert drawn.sum() == total
    assert (drawn >= 0).all()
    assert not unique or drawn.max(initial=0) <= 1
