"""The row network: what a slot may know, and that generation computes what training learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synth_engine.model.context import Context
from synth_engine.model.network import POSITION_FEATURES, NetworkShape, RowNetwork, order_mask, position_features
from synth_engine.model.training import MANY_ROWS, Examples, Schedule, train

SHAPE = NetworkShape((3, 5, 2, 9), (0, 1, 1, 2), (4, 6), False, embedding=4, hidden=8, recurrent=8)
IN_SEQUENCE = NetworkShape((3, 5, 2, 9), (0, 1, 1, 2), (4, 6), True, embedding=4, hidden=8, recurrent=8)


def some_tokens(shape: NetworkShape, rows: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.integers(0, size, rows) for size in shape.slots], axis=1))


def some_side(network: RowNetwork, rows: int) -> torch.Tensor | None:
    shape = network.shape
    rng = np.random.default_rng(1)
    context = torch.from_numpy(np.stack([rng.integers(0, size, rows) for size in shape.context], axis=1))
    if not shape.sequential:
        return network.side_input(context, None, None)
    return network.side_input(context, torch.randn(rows, POSITION_FEATURES), torch.randn(rows, shape.hidden + shape.recurrent))


def batched_logits(network: RowNetwork, tokens: torch.Tensor, mask: torch.Tensor | None, side: torch.Tensor | None) -> list[torch.Tensor]:
    hidden = network.hidden(network.embedded(tokens), mask, side)
    out = []
    for slot, size in enumerate(network.shape.slots):
        bucket, place = network.home[slot]
        out.append(hidden[:, slot] @ network.heads[bucket][place, :, :size] + network.head_bias[bucket][place, :size])
    return out


@pytest.mark.parametrize("rank", [None, np.array([2, 0, 1])], ids=["own order", "another order"])
def test_a_slot_never_sees_a_slot_that_comes_later(rank):
    torch.manual_seed(0)
    network = RowNetwork(SHAPE).eval()
    mask, tokens = order_mask(SHAPE.columns, rank), some_tokens(SHAPE, 20)
    before = batched_logits(network, tokens, mask, None)
    place = np.arange(3) if rank is None else rank
    for changed, size in enumerate(SHAPE.slots):
        other = tokens.clone()
        other[:, changed] = (other[:, changed] + 1) % size
        after = batched_logits(network, other, mask, None)
        for slot in range(len(SHAPE.slots)):
            column, source = SHAPE.columns[slot], SHAPE.columns[changed]
            knows = place[source] < place[column] or (source == column and changed < slot)
            assert bool((before[slot] != after[slot]).any()) == knows


@pytest.mark.parametrize("slots", [1, 3, 4, 11])
def test_the_own_order_in_blocks_is_the_whole_product_under_its_mask(slots):
    torch.manual_seed(0)
    shape = NetworkShape((5,) * slots, tuple(i // 2 for i in range(slots)), (), False, embedding=4, hidden=8)
    network, tokens = RowNetwork(shape).eval(), some_tokens(shape, 20)
    network.start_related(np.random.default_rng(0).random((slots, slots)) < 0.7)
    for ours, whole in zip(
        batched_logits(network, tokens, None, None), batched_logits(network, tokens, order_mask(shape.columns), None), strict=True
    ):
        torch.testing.assert_close(ours, whole)


@pytest.mark.parametrize("shape", [SHAPE, IN_SEQUENCE], ids=["independent", "in sequence"])
def test_drawing_slot_by_slot_computes_what_training_computed_at_once(shape):
    torch.manual_seed(0)
    network = RowNetwork(shape).eval()
    tokens = some_tokens(shape, 30)
    side = some_side(network, 30)
    mask = order_mask(shape.columns)
    at_once = batched_logits(network, tokens, mask, side)
    for slot in range(len(shape.slots)):
        one = network.slot_logits(slot, network.embedded(tokens), side)
        assert torch.allclose(one, at_once[slot], atol=1e-5)


def test_a_first_guess_is_the_frequency_of_each_token():
    network = RowNetwork(SHAPE).eval()
    tokens = np.zeros((100, 4), np.int32)
    tokens[:25, 0] = 2
    network.start_from_frequencies(tokens, None)
    bucket, place = network.home[0]
    guess = torch.softmax(network.head_bias[bucket][place, :3], dim=0)
    assert guess.tolist() == pytest.approx([0.75, 0.0, 0.25], abs=0.01)


def test_neighbouring_tokens_start_more_alike_than_distant_ones():
    torch.manual_seed(0)
    shape = NetworkShape((40,), (0,), (), False, embedding=16, hidden=16)
    network = RowNetwork(shape)
    network.start_in_order([np.linspace(0, 1, 40)], [])
    weights = network.embed.weight.detach()
    near, far = (weights[1:] - weights[:-1]).norm(dim=1).mean(), (weights[20:] - weights[:20]).norm(dim=1).mean()
    assert near < far


def test_positions_tell_first_and_last_rows():
    found = position_features(np.array([0, 1, 2]), np.array([3, 3, 3]))
    assert found.shape == (3, POSITION_FEATURES)
    assert found[:, 2].tolist() == [1, 0, 0]
    assert found[:, 3].tolist() == [0, 0, 1]


def test_a_shape_survives_its_json():
    assert NetworkShape.from_json(IN_SEQUENCE.to_json()) == IN_SEQUENCE


@pytest.mark.parametrize("sequential", [False, True])
def test_training_learns_what_one_column_says_of_another_and_is_reproducible(sequential):
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, 600).astype(np.int32)
    tokens = np.stack([first, (first + 1) % 4], axis=1).astype(np.int32)
    shape = NetworkShape((4, 4), (0, 1), (), sequential, embedding=8, hidden=16, recurrent=8)
    sequence = np.arange(600) // 3 if sequential else None
    examples = Examples(tokens, None, Context(600), sequence, np.arange(600) // 3 % 10 == 0)
    losses = []
    made = [train(shape, examples, Schedule(12, 400, None, 3), torch.device("cpu"), lambda *facts: losses.append(facts)) for _ in range(2)]
    assert made[0][1].held_out_loss < 0.75 * 2 * np.log(4)
    assert made[0][1].held_out_loss == made[1][1].held_out_loss
    assert all(torch.equal(a, b) for a, b in zip(made[0][0].state_dict().values(), made[1][0].state_dict().values(), strict=True))
    assert losses


def test_a_time_budget_that_is_over_ends_training_and_is_told():
    tokens = np.zeros((100, 1), np.int32)
    shape = NetworkShape((2,), (0,), (), False, embedding=4, hidden=4)
    _, result = train(
        shape,
        Examples(tokens, None, Context(100), None, np.arange(100) < 10),
        Schedule(9, 99, 0.0, 0),
        torch.device("cpu"),
        lambda *_: None,
    )
    assert (result.epochs, result.cut_short) == (1, True)


def test_a_token_that_never_occurs_is_as_unlikely_after_training_on_few_rows():
    shape = NetworkShape((6,), (0,), (), False, embedding=4, hidden=8)
    tokens = np.repeat(np.arange(5, dtype=np.int32), 12)[:, None]
    examples = Examples(tokens, None, Context(len(tokens)), None, np.arange(len(tokens)) % 10 == 0)
    network, _ = train(shape, examples, Schedule(40, 400, None, 0), torch.device("cpu"), lambda *_: None)
    chance = network.slot_logits(0, torch.zeros((1, 1, 4)), None).softmax(dim=1)[0]
    assert chance[5] < 1e-7 and chance[:5].min() > 0.05


@pytest.mark.parametrize(("rows", "copies", "told"), [(1_000, 0, False), (2 * MANY_ROWS, 0, True), (2 * MANY_ROWS, 2, False)])
def test_in_small_tables_slots_that_tell_nothing_of_each_other_do_not_inform_each_other(rows: int, copies: int, told: bool) -> None:
    tokens = np.random.default_rng(0).integers(0, 4, (rows, 2)).astype(np.int32)
    examples = Examples(tokens, None, Context(rows), None, np.arange(rows) % 10 == 0, copies=copies)
    shape = NetworkShape((4, 4), (0, 1), (), False, embedding=4, hidden=8, recurrent=8)
    network, _ = train(shape, examples, Schedule(1, 3, None, 0), torch.device("cpu"), lambda *_: None)
    assert bool(network.related[0, 1]) is told
