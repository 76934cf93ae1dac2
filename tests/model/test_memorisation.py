"""What a network knows by heart is held back, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synth_engine.model import memorisation
from synth_engine.model.context import Context
from synth_engine.model.memorisation import FEW, Restraint, frequency_losses
from synth_engine.model.network import NetworkShape, RowNetwork
from synth_engine.model.training import Examples, Schedule, TrainingResult, train

SHAPE = NetworkShape((5, 5, 3), (0, 1, 2), (), False, embedding=4, hidden=8)
ORDERED = np.array([np.nan, 0.1, 0.9, 0.5, 0.3])
"""Token 0 stands for a missing value; in their order the others are 1, 4, 3, 2."""
MANY = 1e9


def some_network() -> RowNetwork:
    torch.manual_seed(0)
    return RowNetwork(SHAPE)


def losses(*nats: float, tokens: float = MANY, deviation: float = 0.0) -> torch.Tensor:
    """As `RowNetwork.slot_losses` gives them, from nats a token and their standard deviation."""
    mean, counted = torch.tensor(nats, dtype=torch.float64), torch.full((len(nats),), tokens, dtype=torch.float64)
    return torch.stack([mean * counted, (mean**2 + deviation**2) * counted, counted])


def restrained(network: RowNetwork, learned_from: torch.Tensor, held_out: torch.Tensor) -> Restraint:
    """One that knows the order of the first slot's tokens; by frequency alone each slot costs one nat."""
    found = Restraint(network, [ORDERED, None, None], torch.ones(3, dtype=torch.float64))
    found.judge(learned_from, held_out)
    return found


def strengths(restraint: Restraint) -> list[float]:
    return [float(one) for one in restraint.strength]


def test_a_slot_is_held_back_by_the_share_that_does_not_hold_for_other_rows() -> None:
    found = restrained(some_network(), losses(0.5, 0.5, 0.5), losses(0.5, 0.675, 1.2))
    assert strengths(found) == pytest.approx([0, 0.175 / 0.52 / 0.5, 1], abs=1e-4)


def test_of_a_handful_of_held_out_rows_less_is_believed() -> None:
    found = restrained(some_network(), losses(0.0, 0.0, 0.0), losses(1.0, 1.0, 1.0, tokens=FEW))
    assert strengths(found) == pytest.approx([0.5, 0.5, 0.5])


def test_nor_of_rows_learned_from_and_without_any_nothing() -> None:
    held_out = losses(1.0, 1.0, 1.0)
    assert strengths(restrained(some_network(), losses(0.0, 0.0, 0.0, tokens=FEW), held_out)) == pytest.approx([0.5, 0.5, 0.5])
    assert strengths(restrained(some_network(), losses(0.0, 0.0, 0.0, tokens=0), held_out)) == [0, 0, 0]


def test_chance_is_nothing_known_by_heart() -> None:
    """Of 2,500 tokens with a deviation of one nat a mean's standard error is .02, that of the difference of two .028."""
    learned_from, held_out = losses(0.9, 0.9, 0.9, tokens=2500, deviation=1.0), losses(0.92, 0.928, 0.95, tokens=2500, deviation=1.0)
    found = strengths(restrained(some_network(), learned_from, held_out))
    assert found[:2] == [0, 0]
    assert found[2] == pytest.approx((0.05 - np.sqrt(2) * 0.02) / 0.12 / 0.5 * 2500 / 2550, abs=1e-3)


def test_what_was_next_to_nothing_is_no_knowledge() -> None:
    assert strengths(restrained(some_network(), losses(1.0, 1.0, 1.01), losses(1.0001, 1.0, 1.0))) == [0, 0, 0]


def test_strength_follows_the_epochs() -> None:
    found = restrained(some_network(), losses(0.0, 0.0, 0.0), losses(1.0, 0.0, 0.0))
    found.judge(losses(0.0, 0.0, 0.0), losses(0.0, 0.0, 1.0))
    assert strengths(found) == pytest.approx([0.5, 0, 0.5])


def test_what_is_left_of_it_ends() -> None:
    found = restrained(some_network(), losses(0.0, 0.0, 0.0), losses(1.0, 0.0, 0.0))
    for _ in range(8):
        found.judge(losses(0.5, 0.5, 0.5), losses(0.5, 0.5, 0.5))
    assert not found.active
    assert strengths(found) == [0, 0, 0]


def test_where_nothing_is_known_by_heart_no_weight_moves() -> None:
    network = some_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    restrained(network, losses(0.5, 0.5, 0.5), losses(0.5, 0.5, 0.5)).restrain(0.01)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_weights_of_a_slot_known_by_heart_shrink_and_those_of_others_stay() -> None:
    network = some_network()
    inputs, heads = network.inputs.detach().clone(), [head.detach().clone() for head in network.heads]
    restrained(network, losses(0.0, 0.0, 0.0), losses(0.0, 1.0, 0.0)).restrain(0.01)
    keep = 1 - memorisation.SHRINKING * 0.01
    for slot in range(3):
        bucket, place = network.home[slot]
        share = keep if slot == 1 else 1.0
        torch.testing.assert_close(network.inputs[:, :, slot], share * inputs[:, :, slot])
        torch.testing.assert_close(network.heads[bucket][place], share * heads[bucket][place])


def test_tokens_in_order_approach_their_neighbours_and_others_none() -> None:
    network = some_network()
    embedded = network.embed.weight.detach().clone()
    bucket, place = network.home[0]
    head = network.heads[bucket][place].detach().clone()
    restrained(network, losses(0.0, 0.0, 0.0), losses(1.0, 0.0, 0.0)).restrain(0.01)
    pull, keep = memorisation.PULL * 0.01, 1 - memorisation.SHRINKING * 0.01
    between = torch.stack([head[:, 0], head[:, 4], head[:, 3], (head[:, 4] + head[:, 2]) / 2, (head[:, 1] + head[:, 3]) / 2], dim=1)
    torch.testing.assert_close(network.heads[bucket][place], keep * torch.lerp(head, between, pull))
    assert torch.equal(network.embed.weight[0], embedded[0])
    assert torch.equal(network.embed.weight[5:], embedded[5:])
    torch.testing.assert_close(network.embed.weight[1], torch.lerp(embedded[1], embedded[4], pull / 3))


@pytest.mark.parametrize(
    ("order", "pairs"),
    [
        (None, [[0, 1], [0, 1]]),
        (np.array([np.nan, np.nan]), [[0, 1], [0, 1]]),
        (np.array([np.nan, 0.2]), [[0, 1], [0, 1]]),
        (np.array([0.2, 0.8]), [[1, 0], [1, 0]]),
        (np.array([0.5, np.nan, 0.9, 0.1]), [[3, 1, 0, 0], [2, 1, 0, 0]]),
    ],
)
def test_neighbours_are_those_in_the_natural_order(order: np.ndarray | None, pairs: list[list[int]]) -> None:
    assert memorisation._neighbours(len(pairs[0]), order).tolist() == pairs


def test_a_smaller_slot_of_a_shared_head_keeps_its_padding() -> None:
    torch.manual_seed(0)
    network = RowNetwork(NetworkShape((8, 5), (0, 1), (), False, embedding=4, hidden=8))
    assert len(network.buckets) == 1
    head = network.heads[0].detach().clone()
    found = Restraint(network, [None, np.linspace(0, 1, 5)], torch.ones(2, dtype=torch.float64))
    found.judge(losses(0.0, 0.0), losses(0.0, 1.0))
    found.restrain(0.01)
    assert torch.equal(network.heads[0][0], head[0])
    torch.testing.assert_close(network.heads[0][1, :, 5:], (1 - memorisation.SHRINKING * 0.01) * head[1, :, 5:])


@torch.no_grad()
def test_losses_by_slot_add_up_to_the_loss() -> None:
    torch.manual_seed(0)
    network = RowNetwork(NetworkShape((3, 40, 5, 2), (0, 1, 2, 3), (), False, embedding=4, hidden=8)).eval()
    tokens = torch.stack([torch.randint(0, size, (50,)) for size in network.shape.slots], dim=1)
    learn = torch.rand((50, 4)) < 0.7
    hidden = network.hidden(network.embedded(tokens), None, None)
    each = network.slot_losses(hidden, tokens, learn)
    assert float(each[0].sum()) / 50 == pytest.approx(network.loss(hidden, tokens, learn).item(), rel=1e-5)
    assert each[2].tolist() == learn.sum(dim=0).tolist()
    assert bool((each[1] * each[2] >= each[0] ** 2).all())


def test_frequencies_are_those_of_the_rows_learned_from() -> None:
    tokens = np.array([[0], [0], [0], [1], [1], [0]], np.int32)
    learn, held_out = np.array([[True], [True], [False], [True], [True], [False]]), np.array([4, 5])
    assert frequency_losses(tokens, learn, np.arange(4), held_out, (2,)).tolist() == pytest.approx([-np.log(1.5 / 4)])
    assert frequency_losses(tokens, None, np.arange(4), held_out[:0], (2,)).tolist() == [0.0]


def trained(noise: bool, monkeypatch: pytest.MonkeyPatch | None = None) -> TrainingResult:
    """Of a small table of four columns, one of which follows from the one before, or none."""
    if monkeypatch is not None:
        monkeypatch.setattr(memorisation, "SHRINKING", 0.0)
        monkeypatch.setattr(memorisation, "PULL", 0.0)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 12, (900, 4)).astype(np.int32)
    if not noise:
        tokens[:, 1] = (tokens[:, 0] + rng.integers(0, 2, 900)) % 12
    shape = NetworkShape((12,) * 4, (0, 1, 2, 3), (), False, embedding=16, hidden=64)
    examples = Examples(tokens, None, Context(900), None, np.arange(900) % 8 == 0, [np.linspace(0, 1, 12)] * 4, [])
    schedule = Schedule(30, 600, None, 0)
    return train(shape, examples, schedule, torch.device("cpu"), lambda *_: None)[1]


def test_noise_is_learned_by_heart_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synth_engine.model.training.MANY_ROWS", 0)  # let all slots inform each other
    held_back = trained(noise=True)
    free = trained(True, monkeypatch)
    assert held_back.held_out_loss - held_back.training_loss < 0.7 * (free.held_out_loss - free.training_loss)
    assert held_back.held_out_loss < free.held_out_loss + 0.01


def test_what_holds_for_other_rows_is_learned_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    by_frequency = 4 * np.log(12)
    learned = by_frequency - trained(noise=False).held_out_loss
    assert learned > 0.95 * (np.log(12) - np.log(2))
    assert learned > 0.95 * (by_frequency - trained(False, monkeypatch).held_out_loss)


def judged(examples: Examples, shape: NetworkShape, monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The losses that one pass is judged by."""
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    monkeypatch.setattr(Restraint, "judge", lambda _, *losses: found.append(losses))
    train(shape, examples, Schedule(1, 60, None, 0), torch.device("cpu"), lambda *_: None)
    return found


TWO = NetworkShape((4, 4), (0, 1), (), False, embedding=4, hidden=8)


def test_a_table_without_held_out_rows_is_learned_unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(0).integers(0, 4, (40, 2)).astype(np.int32)
    assert not judged(Examples(tokens, None, Context(40), None, np.zeros(40, np.bool_)), TWO, monkeypatch)


def test_rows_learned_from_are_compared_from_all_over_the_table_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of the first half of the table are not learned from; the last rows are repeated ones."""
    tokens = np.random.default_rng(0).integers(0, 4, (5_000, 2)).astype(np.int32)
    tokens = np.concatenate([tokens, np.repeat(tokens[:1], 3_000, axis=0)])
    learn, held_out = np.ones((8_000, 2), np.bool_), np.arange(8_000) % 10 == 0
    learn[:2_500, 0], held_out[5_000:] = False, False
    [(seen, unseen)] = judged(Examples(tokens, learn, Context(8_000), None, held_out, copies=3_000), TWO, monkeypatch)
    assert unseen[2].tolist() == [250, 500]
    assert 1_000 <= seen[2, 1] <= 2_000
    assert float(seen[2, 0]) == pytest.approx(float(seen[2, 1]) / 2, abs=1)


def test_sequences_of_all_lengths_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = np.repeat([2, 30], 150)
    sequence = np.repeat(np.arange(300), lengths)
    tokens = np.stack([np.repeat(lengths > 2, lengths), np.random.default_rng(0).integers(0, 4, len(sequence))], axis=1).astype(np.int32)
    learn = np.stack([tokens[:, 0] == 1, np.ones(len(tokens), np.bool_)], axis=1)
    shape = NetworkShape((4, 4), (0, 1), (), True, embedding=4, hidden=8, recurrent=8)
    [(seen, _)] = judged(Examples(tokens, learn, Context(len(tokens)), sequence, sequence % 10 == 0), shape, monkeypatch)
    assert float(seen[2, 0] / seen[2, 1]) == pytest.approx(30 / 32, abs=0.03)
