"""Where training computes and keeps what it learns from. The device is PyTorch's `meta`, which computes shapes alone: what asks it for
a value, as one would wait for a GPU, or mixes its tensors with the host's, fails."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from synth_engine.errors import Terminal
from synth_engine.model import training
from synth_engine.model.context import Context
from synth_engine.model.devices import HOST, device_of, home_of, moved
from synth_engine.model.distributed import ALONE
from synth_engine.model.memorisation import Restraint
from synth_engine.model.network import NetworkShape, RowNetwork
from synth_engine.model.training import Examples, Schedule, train

META = torch.device("meta")


def some_rows(rows: int, sequence: np.ndarray | None) -> Examples:
    rng = np.random.default_rng(0)
    context = Context(rows, (rng.integers(-1, 50, rows),), (rng.integers(0, 2, (50, 2)).astype(np.int32),))
    tokens = rng.integers(0, 4, (rows, 3)).astype(np.int32)
    return Examples(tokens, rng.random((rows, 3)) < 0.9, context, sequence, np.arange(rows) // 3 % 10 == 0)


@pytest.mark.parametrize("home", ["meta", "cpu"])
@pytest.mark.parametrize("sequence", [None, np.arange(600) // 3], ids=["independent", "sequences"])
def test_a_step_asks_the_device_for_no_value_and_leaves_none_elsewhere(monkeypatch, sequence, home):
    monkeypatch.setattr(training, "half_precision", lambda _: nullcontext())  # autocast does not know the device
    monkeypatch.setattr(training, "home_of", lambda *_: torch.device(home))
    examples = some_rows(600, sequence)
    shape = NetworkShape((4, 4, 9), (0, 1, 1), (3, 3), sequence is not None, embedding=8, hidden=16, recurrent=8)
    network = RowNetwork(shape).to(META).train()
    feeder = training._Feeder(shape, examples, META, ALONE)
    batch = feeder.batches(~examples.held_out, 1024)(np.random.default_rng(0))[0]
    loss, rows = feeder.loss(network, batch, None)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    restraint = Restraint(network, [None, np.linspace(0, 1, 4), None], torch.ones(3, dtype=torch.float64))
    restraint.judge(*(torch.tensor([[nats * 100.0], [nats**2 * 100.0], [100.0]]).expand(3, 3) for nats in (1, 2)))
    restraint.restrain(0.01)
    assert restraint.active
    assert rows == (batch.rows >= 0).sum()
    assert {p.grad.device for p in network.parameters() if p.grad is not None} == {META}
    assert feeder.tokens.device.type == feeder.context.device.type == home


def test_training_asks_for_its_losses_three_times_an_epoch(monkeypatch):
    """That of its steps, and those of held-out rows and of rows learned from."""
    asked = []
    for name in ("item", "tolist"):
        answer = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, answer=answer: asked.append(tensor) or answer(tensor))
    shape = NetworkShape((4, 4, 9), (0, 1, 1), (3, 3), False, embedding=8, hidden=16, recurrent=8)
    _, result = train(shape, some_rows(600, None), Schedule(3, 400, None, 0), HOST, lambda *_: None)
    assert result.steps > 3 * 10
    assert len(asked) == 3 * 3


@pytest.mark.parametrize(
    ("free", "reserved", "home"), [(10_000, 0, "cuda"), (9_000, 0, "cpu"), (4_000, 6_000, "cuda"), (4_000, 5_000, "cpu")]
)
def test_what_takes_more_than_half_of_a_gpu_stays_in_the_memory_of_the_host(monkeypatch, free, reserved, home):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 1_000 + reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1_000)
    rows, parents = np.zeros(1_000, np.int32), np.zeros((50, 5), np.int32)
    assert home_of(torch.device("cuda"), [rows, parents, parents]).type == home


def test_a_gpu_that_is_not_there_is_told_before_training_and_not_needed_to_generate(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == HOST
    with pytest.raises(Terminal, match=r"training\.device: a GPU .* Next step: run the step where there is one"):
        device_of("cuda")


@pytest.mark.parametrize(("wanted", "taken"), [("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")])
def test_a_gpu_that_is_there_is_taken_unless_told_otherwise(monkeypatch, wanted, taken):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(wanted).type == taken


def test_the_host_keeps_its_own_and_shares_its_memory():
    assert home_of(HOST, [np.zeros(1 << 20)]) == HOST
    array = np.zeros(3)
    moved(array, HOST)[0] = 1
    assert array[0] == 1


def test_an_array_that_must_not_be_written_to_is_copied():
    array = np.zeros(3)
    array.flags.writeable = False
    moved(array, HOST)[0] = 1
    assert array[0] == 0
