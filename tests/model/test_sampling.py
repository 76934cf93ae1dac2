"""Drawing rows: shares of small tables come out as the network has them, of larger ones by chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synth_engine.model import sampling
from synth_engine.model.context import Context
from synth_engine.model.network import NetworkShape, RowNetwork
from synth_engine.model.sampling import Request, _kept_to, sample

SHARES = ((0.5, 0.3, 0.15, 0.05), (0.7, 0.2, 0.1))
ROWS = 2000


def drawn(spread_first: bool = False) -> list[list[int]]:
    """How often each token of two slots comes out of a network to which nothing tells anything of them."""
    network = RowNetwork(NetworkShape((4, 3), (0, 1), (), False, embedding=4, hidden=8))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    learned = [np.repeat(np.arange(len(shares)), np.round(1000 * np.array(shares)).astype(int)) for shares in SHARES]
    network.start_from_frequencies(np.stack(learned, axis=1).astype(np.int32), None)
    request = Request(ROWS, Context(ROWS), None, None, (), 7, spread_first)
    tokens = sample(network, request, torch.device("cpu"), lambda *_: None)
    return [np.bincount(tokens[:, slot], minlength=len(shares)).tolist() for slot, shares in enumerate(SHARES)]


def off(counts: list[int], slot: int) -> float:
    """The largest distance of a token's rows from its share of them."""
    return float(np.abs(np.array(counts) - ROWS * np.array(SHARES[slot])).max())


def test_shares_of_all_slots_come_out_to_within_a_few_rows() -> None:
    for slot, counts in enumerate(drawn()):
        assert off(counts, slot) <= 4  # frequencies are smoothed a little


@pytest.mark.parametrize("spread_first", [False, True])
def test_of_more_numbers_than_are_spread_only_the_first_slot_is_if_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, spread_first: bool
) -> None:
    monkeypatch.setattr(sampling, "MOST_SPREAD", 2 * ROWS - 1)
    first, second = drawn(spread_first)
    assert (off(first, 0) <= 4) == spread_first
    assert off(second, 1) > 4


def test_nothing_of_what_is_not_allowed_falls_to_the_token_that_stands_for_missing():
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5]])).repeat(3, 1)
    allowed = torch.tensor([[True, True, False], [True, False, False], [False, True, True]])
    shares = torch.softmax(_kept_to(logits, allowed, may_be_missing=True), dim=1)
    assert np.allclose(shares, [[0.2, 0.8, 0], [1, 0, 0], [0, 0.375, 0.625]], atol=1e-6)
    shares = torch.softmax(_kept_to(logits, allowed, may_be_missing=False), dim=1)
    assert np.allclose(shares[0], [0.4, 0.6, 0], atol=1e-6)
