"""Tokens come as often as in the source, whatever the network tells of each from those before it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from synth_engine.encode.relative import RelativeEncoder
from synth_engine.model import calibration
from synth_engine.model.calibration import MOST, STANDARD_ERRORS, Trial, _shift, calibrate
from synth_engine.model.context import Context
from synth_engine.model.network import NetworkShape, RowNetwork
from synth_engine.model.preparation import prepare
from synth_engine.model.prepared import PreparedTable
from synth_engine.model.sampling import Request, sample
from synth_engine.model.state import Model
from tests.model import shop

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prepared() -> dict[str, PreparedTable]:
    found = prepare(shop.SCHEMA, shop.tables(), 0)
    for one in found.values():
        one.references = {}
    return found


def trial_of(rows: int) -> Trial:
    """Rows that stand by themselves."""
    at = np.arange(rows)
    return Trial(at, at, np.ones(rows, np.int64), {})


def slots_of(model: Model, name: str, column: str) -> list[int]:
    hidden = len(model.hidden_sizes(name))
    return [hidden + slot for slot in next(c.slots for c in model.tables[name].encoder.columns if c.column.name == column)]


def biases(network: RowNetwork, slot: int) -> torch.Tensor:
    bucket, place = network.home[slot]
    return network.head_bias[bucket][place, : network.shape.slots[slot]]


def shares(model: Model, name: str, slot: int, context: Context) -> np.ndarray:
    """Mean chances of a slot's tokens in rows drawn one by one."""
    network, seen = model.tables[name].row_network, []
    assert network is not None
    request = Request(context.rows, context, None, None, (), 11, observe=lambda at, chances: seen.append(chances) if at == slot else None)
    sample(network, request, CPU, lambda *_: None)
    return torch.cat(seen).double().mean(dim=0).numpy()


@pytest.fixture
def rows_of_stores() -> tuple[np.ndarray, np.ndarray, Context]:
    """Tokens of a table of two columns, of which the second is nearly always as the first; all of them learned; no context."""
    rng = np.random.default_rng(0)
    first = rng.choice(4, 3000, p=[0.1, 0.2, 0.3, 0.4])
    second = np.where(rng.random(3000) < 0.9, first, rng.integers(0, 4, 3000))
    tokens = np.stack([first, second], axis=1).astype(np.int32)
    return tokens, np.ones(tokens.shape, np.bool_), Context(3000)


def a_model(model: Model, network: RowNetwork) -> Model:
    """One whose stores (no parents, one column) have this network."""
    found = copy.deepcopy(model)
    found.tables["stores"].row_network = network
    found.tables["stores"].hidden_rows = None
    return found


def test_a_token_that_is_drawn_too_often_is_drawn_as_often_as_in_the_source(
    model: Model, rows_of_stores: tuple[np.ndarray, np.ndarray, Context]
) -> None:
    tokens, learned, context = rows_of_stores
    torch.manual_seed(0)
    network = RowNetwork(NetworkShape((4, 4), (0, 1), (), False, embedding=4, hidden=8)).eval()
    network.start_from_frequencies(tokens, learned)
    with torch.no_grad():
        biases(network, 1)[3] += 0.8
    made = a_model(model, network)
    real = np.bincount(tokens[:, 1], minlength=4) / len(tokens)
    before = np.abs(shares(made, "stores", 1, context) - real).max()
    calibrate(made, "stores", trial_of(3000), tokens, learned, context, 0, CPU, lambda *_: None)
    after = np.abs(shares(made, "stores", 1, context) - real).max()
    assert before > 0.1
    assert after < before / 5


def test_tokens_that_count_in_some_rows_are_compared_with_those_alone(
    model: Model, rows_of_stores: tuple[np.ndarray, np.ndarray, Context]
) -> None:
    tokens, learned, context = rows_of_stores
    torch.manual_seed(0)
    network = RowNetwork(NetworkShape((4, 4), (0, 1), (), False, embedding=4, hidden=8)).eval()
    learned = learned & np.c_[np.ones(3000, np.bool_), tokens[:, 1] > 1]
    network.start_from_frequencies(tokens, learned)
    made = a_model(model, network)
    calibrate(made, "stores", trial_of(3000), tokens, learned, context, 0, CPU, lambda *_: None)
    found = shares(made, "stores", 1, context)
    assert found[:2].max() < 0.001
    assert found[3] == pytest.approx((tokens[:, 1] == 3).sum() / (tokens[:, 1] > 1).sum(), abs=0.02)


def test_columns_told_as_steps_and_hidden_tokens_that_are_dealt_stay_as_they_are(
    model: Model, prepared: dict[str, PreparedTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {
        slot
        for c in model.tables["orders"].encoder.columns
        if isinstance(c.encoder, RelativeEncoder)
        for slot in slots_of(model, "orders", c.column.name)
    }
    assert steps
    told: list[int] = []

    def moved(counts: np.ndarray, chance: np.ndarray, error: np.ndarray) -> np.ndarray:
        told.append(len(counts))
        return np.ones(len(counts))

    monkeypatch.setattr(calibration, "_shift", moved)
    found = copy.deepcopy(model)
    table, network = found.tables["orders"], found.tables["orders"].row_network
    assert network is not None
    before = copy.deepcopy(network)
    rows = 200
    tokens = np.zeros((rows, len(network.shape.slots)), np.int32)
    context = Context(rows, (np.full(rows, -1),), (np.zeros((1, len(network.shape.context)), np.int32),))
    trial = Trial(
        np.arange(rows), np.arange(0, rows, 2), np.full(rows // 2, 2), {r: np.zeros(rows) for rs in table.references.values() for r in rs}
    )
    hidden = len(found.hidden_sizes("orders"))
    assert hidden
    found.tables["orders"].hidden_rows = tokens[:, :hidden]
    calibrate(found, "orders", trial, tokens, np.ones(tokens.shape, np.bool_), context, 0, CPU, lambda *_: None)
    changed = {slot for slot in range(len(network.shape.slots)) if not torch.equal(biases(network, slot), biases(before, slot))}
    assert changed == set(range(hidden, len(network.shape.slots))) - steps
    assert len(told) == len(changed)


def test_what_chance_accounts_for_is_left_alone_and_of_more_the_part_beyond_it() -> None:
    counts, error = np.array([500, 500]), np.full(2, 0.01)
    assert _shift(counts, np.array([0.52, 0.48]), error) == pytest.approx([0, 0], abs=1e-12)
    beyond = 1 - (STANDARD_ERRORS * 0.01 / 0.1) ** 2
    assert _shift(counts, np.array([0.6, 0.4]), error) == pytest.approx(beyond * np.log([5 / 6, 5 / 4]), abs=1e-3)


def test_no_bias_is_moved_far_nor_one_that_is_right() -> None:
    assert _shift(np.array([999, 1]), np.array([0.5, 0.5]), np.zeros(2)) == pytest.approx([np.log(0.999 / 0.5), -MOST], abs=1e-3)
    assert list(_shift(np.array([600, 400]), np.array([0.6, 0.4]), np.zeros(2))) == [0, 0]


def test_a_trial_is_of_whole_sequences_in_their_order(prepared: dict[str, PreparedTable], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ROWS", 100)
    one = prepared["orders"]
    assert one.sequence is not None
    found = Trial.of(one, prepared, 0)
    longest = int(np.bincount(one.sequence).max())
    assert 100 <= len(found.rows) < 100 + longest
    assert found.lengths.sum() == len(found.rows)
    for start, length in zip(found.starts, found.lengths, strict=True):
        rows = found.rows[start : start + length]
        assert list(rows) == list(range(rows[0], rows[0] + length))
        assert set(np.flatnonzero(one.sequence == one.sequence[rows[0]])) == set(rows)
    assert len(set(found.rows)) == len(found.rows)


def test_rows_of_a_small_table_are_tried_over_and_over(prepared: dict[str, PreparedTable], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ROWS", 200)
    found = Trial.of(prepared["stores"], prepared, 0)
    assert len(found.rows) == 200
    assert set(np.bincount(found.rows)) == {3, 4}


def test_a_table_without_rows_is_not_tried() -> None:
    empty = {name: table.slice(0, 0) for name, table in shop.tables().items()}
    prepared = prepare(shop.SCHEMA, empty, 0)
    for one in prepared.values():
        one.references = {}
        assert not len(Trial.of(one, prepared, 0).rows)


def test_chances_are_those_of_rows_in_which_the_slot_says_something() -> None:
    torch.manual_seed(0)
    network = RowNetwork(NetworkShape((2, 3), (0, 0), (), False, embedding=4, hidden=8))
    seen: dict[int, int] = {}

    def observe(slot: int, chances: torch.Tensor) -> None:
        assert chances.sum(dim=1).numpy() == pytest.approx(1)
        seen[slot] = seen.get(slot, 0) + len(chances)

    tokens = sample(network, Request(500, Context(500), None, None, (), 1, empty_after={1: 0}, observe=observe), CPU, lambda *_: None)
    assert seen == {0: 500, 1: int((tokens[:, 0] != 0).sum())}
    assert 0 < seen[1] < 500
