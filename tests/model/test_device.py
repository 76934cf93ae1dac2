"""Where training computes and keeps what it learns from. The device is PyTorch's `meta`, which computes shapes alone: what asks it for
a value, as one would wait for a GPU, or mixes its tensors with the host's, fails."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from synth_engine.model import training
from synth_engine.model.context import Context, home_of
from synth_engine.model.distributed import ALONE
from synth_engine.model.network import NetworkShape, RowNetwork
from synth_engine.model.training import Examples

META = torch.device("meta")
GPU = torch.device("cuda")


def some_rows(rows: int, sequence: np.ndarray | None) -> Examples:
    rng = np.random.default_rng(0)
    context = Context(rows, (rng.integers(-1, 50, rows),), (rng.integers(0, 2, (50, 2)).astype(np.int32),))
    tokens = rng.integers(0, 4, (rows, 3)).astype(np.int32)
    return Examples(tokens, rng.random((rows, 3)) < 0.9, context, sequence, np.arange(rows) // 3 % 10 == 0)


@pytest.mark.parametrize("sequence", [None, np.arange(600) // 3], ids=["independent", "sequences"])
def test_a_step_stays_on_the_device_and_does_not_wait_for_it(monkeypatch, sequence):
    monkeypatch.setattr(training, "half_precision", lambda _: nullcontext())  # autocast does not know the device
    examples = some_rows(600, sequence)
    shape = NetworkShape((4, 4, 9), (0, 1, 1), (3, 3), sequence is not None, embedding=8, hidden=16, recurrent=8)
    network = RowNetwork(shape).to(META).train()
    feeder = training._Feeder(shape, examples, META, ALONE)
    batch = feeder.batches(~examples.held_out, 1024)(np.random.default_rng(0))[0]
    loss, rows = feeder.loss(network, batch, None)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    assert rows == (batch.rows >= 0).sum()
    assert {p.grad.device for p in network.parameters() if p.grad is not None} == {META}
    assert feeder.tokens.device == feeder.context.device == META


@pytest.mark.parametrize(("free", "home"), [(10_000, "cuda"), (9_000, "cpu")])
def test_what_takes_more_than_half_of_a_gpu_stays_in_the_memory_of_the_host(monkeypatch, free, home):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80_000))
    context = Context(200, (np.zeros(200, np.int64),), (np.zeros((50, 5), np.int32),), (Context(50, (np.zeros(50, np.int64),)),))
    assert context.size == 200 * 8 + 50 * 5 * 4 + 50 * 8
    assert home_of(GPU, 2_000, context).type == home
    assert home_of(GPU, 5_000, None).type == home


def test_the_host_keeps_its_own():
    assert home_of(torch.device("cpu"), 1 << 60, None).type == "cpu"
