"""What a network knows by heart is held back, and nothing else."""

from __future__ import annotations

from dataclasses import replace

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


def losses(*nats: float, tokens: float = MANY) -> torch.Tensor:
    """As `RowNetwork.slot_losses` gives them, from nats a token."""
    counted = torch.full((len(nats),), tokens, dtype=torch.float64)
    return torch.stack([torch.tensor(nats, dtype=torch.float64) * counted, counted])


def restrained(network: RowNetwork, learned_from: torch.Tensor, held_out: torch.Tensor) -> Restraint:
    """One that knows the order of the first slot's tokens; by frequency alone each slot costs one nat."""
    found = Restraint(network, [ORDERED, None, None], torch.ones(3, dtype=torch.float64))
    found.judge(learned_from, held_out)
    return found


def strengths(restraint: Restraint) -> list[float]:
    assert restraint.strength is not None
    return [float(one) for one in restraint.strength]


def test_a_slot_is_held_back_by_the_share_that_does_not_hold_for_other_rows() -> None:
    found = restrained(some_network(), losses(0.5, 0.5, 0.5), losses(0.5, 0.675, 1.2))
    assert strengths(found) == pytest.approx([0, (0.175 / 0.52 - 0.1) / 0.5, 1], abs=1e-4)


def test_of_a_handful_of_held_out_rows_less_is_believed() -> None:
    found = restrained(some_network(), losses(0.0, 0.0, 0.0), losses(1.0, 1.0, 1.0, tokens=FEW))
    assert strengths(found) == pytest.approx([0.5, 0.5, 0.5])


def test_what_was_next_to_nothing_is_no_knowledge() -> None:
    assert strengths(restrained(some_network(), losses(0.999, 1.0, 1.01), losses(1.001, 1.0, 1.0))) == [0, 0, 0]


def test_strength_follows_the_epochs() -> None:
    found = restrained(some_network(), losses(0.0, 0.0, 0.0), losses(1.0, 0.0, 0.0))
    found.judge(losses(0.0, 0.0, 0.0), losses(0.0, 0.0, 1.0))
    assert strengths(found) == pytest.approx([0.5, 0, 0.5])


def test_where_nothing_is_known_by_heart_no_weight_moves() -> None:
    network = some_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    restrained(network, losses(0.5, 0.5, 0.5), losses(0.5, 0.5, 0.5)).hold_back(0.01)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_weights_of_a_slot_known_by_heart_shrink_and_those_of_others_stay() -> None:
    network = some_network()
    inputs, heads = network.inputs.detach().clone(), [head.detach().clone() for head in network.heads]
    restrained(network, losses(0.0, 0.0, 0.0), losses(0.0, 1.0, 0.0)).hold_back(0.01)
    keep = 1 - memorisation.DECAY * 0.01
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
    restrained(network, losses(0.0, 0.0, 0.0), losses(1.0, 0.0, 0.0)).hold_back(0.01)
    pull, keep = memorisation.PULL * 0.01, 1 - memorisation.DECAY * 0.01
    between = torch.stack([head[:, 0], head[:, 4], head[:, 3], (head[:, 4] + head[:, 2]) / 2, (head[:, 1] + head[:, 3]) / 2], dim=1)
    torch.testing.assert_close(network.heads[bucket][place], keep * torch.lerp(head, between, pull))
    assert torch.equal(network.embed.weight[0], embedded[0])
    assert torch.equal(network.embed.weight[5:], embedded[5:])
    torch.testing.assert_close(network.embed.weight[1], torch.lerp(embedded[1], embedded[4], pull / 3))


@pytest.mark.parametrize("order", [np.array([0.5]), np.array([np.nan, np.nan]), np.array([np.nan, 0.2]), np.array([0.2, 0.8])])
def test_slots_of_one_or_two_tokens_have_an_order_too(order: np.ndarray) -> None:
    torch.manual_seed(0)
    network = RowNetwork(NetworkShape((len(order),), (0,), (), False, embedding=4, hidden=8))
    found = Restraint(network, [order], torch.ones(1, dtype=torch.float64))
    found.judge(losses(0.0), losses(1.0))
    found.hold_back(0.01)
    assert torch.isfinite(network.embed.weight).all()


def test_frequencies_are_those_of_the_rows_learned_from() -> None:
    tokens = np.array([[0], [0], [0], [1], [1]], np.int32)
    learn, held_out = np.array([[True], [True], [False], [True], [True]]), np.array([False, False, False, False, True])
    assert frequency_losses(tokens, learn, held_out, (2,)).tolist() == pytest.approx([-np.log(1.5 / 4)])
    assert frequency_losses(tokens, learn, np.zeros(5, np.bool_), (2,)).tolist() == [0.0]


def trained(noise: bool, monkeypatch: pytest.MonkeyPatch | None = None) -> TrainingResult:
    """Of a small table of four columns, one of which follows from the one before, or none."""
    if monkeypatch is not None:
        monkeypatch.setattr(memorisation, "DECAY", 0.0)
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


def test_a_table_without_held_out_rows_is_learned_unjudged() -> None:
    tokens = np.random.default_rng(0).integers(0, 4, (40, 2)).astype(np.int32)
    examples = Examples(tokens, None, Context(40), None, np.zeros(40, np.bool_))
    shape = replace(SHAPE, slots=(4, 4), columns=(0, 1))
    _, result = train(shape, examples, Schedule(3, 60, None, 0), torch.device("cpu"), lambda *_: None)
    assert np.isfinite(result.held_out_loss)
