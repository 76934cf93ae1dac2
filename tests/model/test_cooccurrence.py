"""Where the weights of tokens of many start from."""

from __future__ import annotations

import numpy as np
import pytest

from synth_engine.model.cooccurrence import MANY_TOKENS, occurring_with
from synth_engine.model.network import NetworkShape, RowNetwork

SIZES = [40, 4]
ALL = np.ones((2, 2), np.bool_)


def rows(each: int = 8) -> np.ndarray:
    """Forty tokens of as many rows each, which occur with one of four others; token 39 of one row."""
    token = np.r_[np.repeat(np.arange(39), each), 39]
    return np.stack([token, token % 4], axis=1).astype(np.int32)


def test_tokens_that_occur_with_the_same_others_have_like_features():
    ((slot, found),) = occurring_with(rows(), SIZES, [], ALL)
    assert slot == 0 and len(found) == 40
    assert np.abs(found[0] - found[4]).max() == pytest.approx(0, abs=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1
    assert np.sqrt(np.mean(found**2)) == pytest.approx(1, abs=1e-5)


def test_what_one_row_tells_is_hardly_believed():
    ((_, found),) = occurring_with(rows(), SIZES, [], ALL)
    assert np.linalg.norm(found[39]) < 0.5 * np.linalg.norm(found[3])


@pytest.mark.parametrize(
    ("sizes", "positions", "related"),
    [
        ([MANY_TOKENS - 1, 4], [], ALL),
        (SIZES, [np.linspace(0, 1, 40), None], ALL),
        (SIZES, [], np.eye(2, dtype=np.bool_)),
    ],
    ids=["few tokens", "an order of their own", "nothing that tells"],
)
def test_some_slots_start_as_they_are(sizes, positions, related):
    assert not list(occurring_with(rows() % 15 if sizes[0] < MANY_TOKENS else rows(), sizes, positions, related))


def test_without_rows_nothing_occurs():
    assert not list(occurring_with(np.zeros((0, 2), np.int32), SIZES, [], ALL))


def test_a_network_starts_with_like_weights_for_tokens_of_like_company():
    network = RowNetwork(NetworkShape(tuple(SIZES), (0, 1), (), False))
    spread = float(network.embed.weight[:40].std())
    for slot, company in occurring_with(rows(), SIZES, [], ALL):
        network.start_from_company(slot, company)
    embedding, head = network.embed.weight[:40].detach().numpy(), network.heads[network.home[0][0]][0].detach().numpy().T
    for weights in (embedding, head):
        assert np.linalg.norm(weights[0] - weights[4]) < 0.3 * np.linalg.norm(weights[0] - weights[1])
    assert embedding.std() == pytest.approx(spread, rel=0.5)
