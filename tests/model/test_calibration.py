"""Tokens come as often as in the source, whatever the network tells of each from those before it."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from synth_engine.config import Config
from synth_engine.encode.relative import RelativeEncoder
from synth_engine.model import calibration, learning, sampling
from synth_engine.model.calibration import GROUPS, MOST, STANDARD_ERRORS, Trial, _Biases, _shift, calibrate
from synth_engine.model.context import Context
from synth_engine.model.network import NetworkShape, RowNetwork
from synth_engine.model.preparation import prepare
from synth_engine.model.prepared import PreparedTable
from synth_engine.model.sampling import BLOCK, Request, sample
from synth_engine.model.state import Model
from synth_engine.progress import Progress
from tests.model import shop

CPU = torch.device("cpu")
ROWS = 4000
SHAPE = NetworkShape((4, 4), (0, 1), (), False, embedding=4, hidden=8)


@pytest.fixture(scope="module")
def prepared() -> dict[str, PreparedTable]:
    return prepare(shop.SCHEMA, shop.tables(), 0)


def drawn_tokens(network: RowNetwork, rows: int, lengths: NDArray[np.int64] | None = None, seed: int = 11) -> NDArray[np.int32]:
    starts = None if lengths is None else np.r_[0, np.cumsum(lengths)[:-1]]
    return sample(network, Request(rows, Context(rows), starts, lengths, (), seed), CPU, lambda *_: None)


def shares(tokens: NDArray[np.int32]) -> NDArray[np.float64]:
    """Of each token of either slot."""
    return np.stack([np.bincount(tokens[:, slot], minlength=4) / len(tokens) for slot in range(2)])


def some_network(sequential: bool = False) -> RowNetwork:
    """One whose second slot hangs on the first and, of a sequence, both on the row before."""
    torch.manual_seed(5)
    network = RowNetwork(NetworkShape((4, 4), (0, 1), (), sequential, embedding=4, hidden=8, recurrent=8)).eval()
    with torch.no_grad():
        for head in network.heads:
            head.mul_(6)
        network.inputs.mul_(3)
    return network


def with_network(model: Model, network: RowNetwork) -> Model:
    """A model whose stores, which have no parents, have this network and are not dealt out."""
    found = copy.deepcopy(model)
    table = found.tables["stores"]
    table.row_network, table.hidden_rows, table.sequential = network, None, network.shape.sequential
    return found


def trial_of(lengths: NDArray[np.int64], rows: NDArray[np.int64] | None = None, whole: bool = True) -> Trial:
    starts = np.r_[0, np.cumsum(lengths)[:-1]]
    return Trial(np.arange(lengths.sum()) if rows is None else rows, starts, lengths, {}, whole)


def biases(network: RowNetwork, slot: int) -> torch.Tensor:
    bucket, place = network.home[slot]
    return network.head_bias[bucket].detach()[place, : network.shape.slots[slot]]


def spoil(network: RowNetwork, slot: int, token: int, by: float) -> None:
    with torch.no_grad():
        biases(network, slot)[token] += by


def set_on_trial(
    model: Model, network: RowNetwork, trial: Trial, tokens: NDArray[np.int32], learned: NDArray[np.bool_] | None = None
) -> None:
    learned = np.ones(tokens.shape, np.bool_) if learned is None else learned
    calibrate(with_network(model, network), "stores", trial, tokens, learned, Context(len(tokens)), 0, CPU)


# -- what is set -------------------------------------------------------------------------------------------------------


def test_tokens_come_as_often_as_in_the_source_again_and_what_hangs_on_them_does_not_overshoot(model: Model) -> None:
    """Real rows are what a network draws; then one of its slots is spoiled, and only that one is set."""
    network = some_network()
    real = drawn_tokens(network, ROWS)
    before = [biases(network, slot).clone() for slot in range(2)]
    spoil(network, 0, 3, 1.0)
    off = np.abs(shares(drawn_tokens(network, ROWS)) - shares(real)).max(axis=1)
    assert off.min() > 0.05
    set_on_trial(model, network, trial_of(np.ones(ROWS, np.int64)), real)
    assert np.abs(shares(drawn_tokens(network, ROWS)) - shares(real)).max() < 0.01
    moved = [torch.softmax(biases(network, slot), 0) - torch.softmax(before[slot], 0) for slot in range(2)]
    assert max(float(one.abs().max()) for one in moved) < 0.02


def test_every_trial_says_how_far_it_is(model: Model) -> None:
    said: list[Progress] = []
    made, lengths = with_network(model, some_network(sequential=True)), np.full(500, 8)
    tokens, context = np.zeros((ROWS, 2), np.int32), Context(ROWS)
    calibrate(made, "stores", trial_of(lengths), tokens, np.ones(tokens.shape, np.bool_), context, 0, CPU, said.append)
    assert {(one.table, one.total) for one in said} == {("stores drawn on trial", ROWS)}
    assert [one.done for one in said].count(ROWS) == len(calibration.STEPS)
    assert max(one.done for one in said) == ROWS


def test_sequences_go_most_of_the_way(model: Model) -> None:
    network, lengths = some_network(sequential=True), np.full(500, 8)
    real = drawn_tokens(network, ROWS, lengths)
    spoil(network, 0, 3, 1.0)
    off = np.abs(shares(drawn_tokens(network, ROWS, lengths)) - shares(real)).max()
    set_on_trial(model, network, trial_of(lengths), real)
    left = np.abs(shares(drawn_tokens(network, ROWS, lengths)) - shares(real)).max()
    assert off > 0.1
    assert left < 0.4 * off


def test_rows_without_siblings_that_are_more_than_are_drawn_at_once_go_most_of_the_way(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a table of which a few rows have siblings a trial may hold none of these."""
    network, lengths = some_network(sequential=True), np.ones(ROWS, np.int64)
    real = drawn_tokens(network, ROWS, lengths)
    spoil(network, 0, 3, 1.0)
    off = np.abs(shares(drawn_tokens(network, ROWS, lengths)) - shares(real)).max()
    for room in (calibration, sampling):
        monkeypatch.setattr(room, "BLOCK", ROWS // 4)
    assert not trial_of(lengths).at_once
    set_on_trial(model, network, trial_of(lengths), real)
    monkeypatch.undo()
    assert np.abs(shares(drawn_tokens(network, ROWS, lengths)) - shares(real)).max() < 0.4 * off


def test_only_rows_that_are_tried_are_compared(model: Model) -> None:
    """Those of other parents may be others: of a network that is right about these nothing is moved."""
    network = some_network()
    real = drawn_tokens(network, ROWS)
    others = np.full((3 * ROWS, 2), 1, np.int32)
    before = [biases(network, slot).clone() for slot in range(2)]
    set_on_trial(model, network, trial_of(np.ones(ROWS, np.int64), 3 * ROWS + np.arange(ROWS), whole=False), np.concatenate([others, real]))
    for slot in range(2):
        assert biases(network, slot).numpy() == pytest.approx(before[slot].numpy(), abs=0.1)


def test_tokens_that_count_in_some_rows_are_compared_with_those_alone() -> None:
    network, groups = some_network(), np.arange(ROWS) % GROUPS
    tokens = np.stack([np.arange(ROWS) % 4, np.arange(ROWS) % 4], axis=1).astype(np.int32)
    chances = torch.full((ROWS, 4), 0.25)
    for learned, expected in ((tokens >= 0, [0, 0, 0, 0]), (tokens > 1, [-MOST, -MOST, np.log(2), np.log(2)])):
        found = _Biases(network, tokens, learned, groups, True, (), CPU)
        found.observe(1, np.arange(ROWS), chances)
        assert found.set(1, 1.0).numpy() == pytest.approx(expected, abs=0.01)


def test_columns_told_as_steps_and_hidden_tokens_that_are_dealt_stay_as_they_are(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    found = copy.deepcopy(model)
    table, network = found.tables["orders"], found.tables["orders"].row_network
    assert network is not None
    hidden, rows = len(found.hidden_sizes("orders")), 200
    steps = {hidden + slot for c in table.encoder.columns if isinstance(c.encoder, RelativeEncoder) for slot in c.slots}
    assert steps
    assert hidden
    dealt: list[NDArray[np.int32]] = []

    def noted(network: RowNetwork, request: Request, device: torch.device, advance: object) -> NDArray[np.int32]:
        assert request.given is not None
        dealt.append(request.given)
        return sample(network, request, device, lambda *_: None)

    monkeypatch.setattr(calibration, "sample", noted)
    monkeypatch.setattr(calibration, "_shift", lambda counts, chances, whole: np.ones(counts.shape[1]))
    before = copy.deepcopy(network)
    tokens = np.zeros((rows, len(network.shape.slots)), np.int32)
    tokens[:, 0] = np.arange(rows) % network.shape.slots[0]
    context = Context(rows, (np.full(rows, -1),), (np.zeros((1, len(network.shape.context)), np.int32),))
    references = {r: np.zeros(rows) for listed in table.references.values() for r in listed}
    trial = Trial(np.arange(rows)[::-1].copy(), np.arange(0, rows, 2), np.full(rows // 2, 2), references, True)
    table.hidden_rows = tokens[:, :hidden]
    calibrate(found, "orders", trial, tokens, np.ones(tokens.shape, np.bool_), context, 0, CPU)
    changed = {slot for slot in range(len(network.shape.slots)) if not torch.equal(biases(network, slot), biases(before, slot))}
    assert changed == set(range(hidden, len(network.shape.slots))) - steps
    assert all(np.array_equal(given, tokens[::-1, :hidden]) for given in dealt)


# -- by how much -------------------------------------------------------------------------------------------------------


def in_groups(shares: list[float], spread: float = 0.0, rows: float = 1600.0) -> NDArray[np.float64]:
    """Chances of two tokens summed over groups, whose shares of the first differ from group to group by `spread` either way."""
    each = np.where(np.arange(GROUPS) % 2 == 0, shares[0] + spread, shares[0] - spread)
    return np.stack([each, 1 - each], axis=1) * rows / GROUPS


def test_what_chance_accounts_for_is_left_alone_and_of_more_the_part_beyond_it() -> None:
    counts, error = in_groups([0.5]).astype(np.int64), 0.04 / np.sqrt(GROUPS - 1)
    assert _shift(counts, in_groups([0.5 + 1.9 * error], 0.04), True) == pytest.approx([0, 0], abs=1e-12)
    expected = (1 - (STANDARD_ERRORS * error / 0.1) ** 2) * np.log([5 / 6, 5 / 4])
    assert _shift(counts, in_groups([0.6], 0.04), True) == pytest.approx(expected, abs=2e-3)


def test_what_real_rows_differ_by_counts_as_chance_where_others_are_not_tried_unless_the_network_follows_it() -> None:
    counts, chances = in_groups([0.5], 0.2).astype(np.int64), in_groups([0.55])
    assert np.abs(_shift(counts, chances, True)).min() > 0.08
    assert list(_shift(counts, chances, False)) == [0, 0]
    assert np.abs(_shift(counts, in_groups([0.55], 0.2), False)).min() > 0.08


def test_no_bias_is_moved_far_nor_one_that_is_right_nor_one_of_which_nothing_is_known() -> None:
    counts = np.tile([99, 1], (GROUPS, 1))
    assert _shift(counts, in_groups([0.5]), True) == pytest.approx([np.log(0.99 / 0.5), -MOST], abs=1e-3)
    assert list(_shift(counts, counts.astype(np.float64), True)) == [0, 0]
    assert list(_shift(0 * counts, in_groups([0.5]), True)) == [0, 0]
    assert list(_shift(counts, 0 * in_groups([0.5]), True)) == [0, 0]


# -- what is tried -----------------------------------------------------------------------------------------------------


def sequences_of(trial: Trial) -> Iterator[NDArray[np.int64]]:
    for start, length in zip(trial.starts, trial.lengths, strict=True):
        yield trial.rows[start : start + length]


def test_a_trial_is_of_whole_sequences_in_their_order(prepared: dict[str, PreparedTable], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ROWS", 100)
    one = prepared["orders"]
    assert one.sequence is not None
    found = Trial.of(one, prepared, 0)
    assert 100 - np.bincount(one.sequence).max() < len(found.rows) <= 100
    for rows in sequences_of(found):
        assert list(rows) == list(np.flatnonzero(one.sequence == one.sequence[rows[0]]))
    assert len(set(found.rows)) == len(found.rows)
    assert not found.whole
    assert list(found.groups) == sorted(found.groups)
    assert len(set(found.groups)) > calibration.FEWEST_GROUPS


def test_rows_of_a_small_table_are_tried_equally_often(prepared: dict[str, PreparedTable]) -> None:
    found = Trial.of(prepared["stores"], prepared, 0)
    assert found.whole
    assert set(np.bincount(found.rows)) == {BLOCK // shop.STORES}
    assert found.at_once


def test_it_knows_what_parents_have(prepared: dict[str, PreparedTable]) -> None:
    one = prepared["orders"]
    found = Trial.of(one, prepared, 0)
    (reference,) = found.of_parents
    joined = prepared["users"].moments[reference.column]
    assert (reference.source, reference.column) == ("parent", "joined")
    assert np.array_equal(found.of_parents[reference], joined[one.parents[reference.key][found.rows]])


def test_long_sequences_are_not_tried(prepared: dict[str, PreparedTable], monkeypatch: pytest.MonkeyPatch) -> None:
    one = prepared["orders"]
    assert one.sequence is not None
    lengths = np.bincount(one.sequence)[one.sequence]
    middle = int(np.median(lengths))
    assert lengths.max() > middle
    monkeypatch.setattr(calibration, "LONGEST", middle)
    found = Trial.of(one, prepared, 0)
    assert set(found.rows) == set(np.flatnonzero(lengths <= middle))
    assert not found.whole
    monkeypatch.setattr(calibration, "LONGEST", 1)
    assert not len(Trial.of(one, prepared, 0).rows)


def test_a_table_without_rows_and_one_of_a_handful_of_sequences_are_left_as_they_are(model: Model) -> None:
    empty = prepare(shop.SCHEMA, {name: table.slice(0, 0) for name, table in shop.tables().items()}, 0)
    network = some_network(sequential=True)
    before = [biases(network, slot).clone() for slot in range(2)]
    set_on_trial(model, network, Trial.of(empty["stores"], empty, 0), np.zeros((0, 2), np.int32))
    set_on_trial(model, network, trial_of(np.full(3, 40)), np.zeros((120, 2), np.int32))
    assert all(torch.equal(biases(network, slot), before[slot]) for slot in range(2))


def test_chances_are_zero_in_rows_in_which_a_slot_says_nothing() -> None:
    seen: dict[int, torch.Tensor] = {}

    def observe(slot: int, rows: NDArray[np.int64], chances: torch.Tensor) -> None:
        assert list(rows) == list(range(500))
        seen[slot] = chances.sum(dim=1)

    tokens = sample(
        some_network(), Request(500, Context(500), None, None, (), 1, empty_after={1: 0}, observe=observe), CPU, lambda *_: None
    )
    assert seen[0].numpy() == pytest.approx(1)
    assert seen[1].numpy() == pytest.approx((tokens[:, 0] != 0).astype(np.float64))
    assert 0 < (tokens[:, 0] == 0).sum() < 500


# -- when --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget", "tried"), [(None, True), (1e-3, False)])
def test_every_table_is_set_unless_the_clock_cuts_its_training_short(
    budget: float | None, tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    monkeypatch.setattr(learning, "calibrate", lambda model, name, *_: names.append(name))
    settings = {"size": "small", "max_epochs": 1, "device": "cpu", "time_budget_seconds": budget}
    learning.learn(shop.SCHEMA, shop.tables(), Config.build({"training": settings}))
    assert set(names) == (set(shop.tables()) if tried else set())
