"""The optimiser does what PyTorch's class of that name does, without what that loads."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch.nn import Parameter

from synth_engine.model.optimiser import AdamW


def some_parameters() -> list[Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), (3,), (2, 2, 5))]


def test_steps_are_those_of_pytorch_to_the_bit():
    ours, theirs = some_parameters(), some_parameters()
    decays = [0.3, 0.0, 0.3]
    optimiser = AdamW(zip(ours, decays, strict=True))
    groups = [{"params": [p], "weight_decay": decay} for p, decay in zip(theirs, decays, strict=True)]
    reference = torch.optim.AdamW(groups, fused=True)
    for step in range(20):
        rate = 0.01 / (1 + step)
        for group in reference.param_groups:
            group["lr"] = rate
        for parameters in (ours, theirs):
            sum((p**3 - p).sum() for p in parameters).backward()
        optimiser.step(rate)
        reference.step()
        optimiser.forget_gradients()
        reference.zero_grad(set_to_none=True)
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))


def test_a_parameter_without_a_gradient_stays_as_it_is():
    moved, kept = some_parameters()[:2]
    before = kept.detach().clone()
    optimiser = AdamW([(moved, 0.1), (kept, 0.1)])
    moved.sum().backward()
    optimiser.step(0.1)
    assert torch.equal(kept, before)


def test_no_gradients_move_nothing():
    parameters = some_parameters()
    AdamW((p, 0.1) for p in parameters).step(0.1)
    assert all(torch.equal(p, before) for p, before in zip(parameters, some_parameters(), strict=True))


def test_the_optimiser_does_not_load_the_compiler():
    program = (
        "import sys, torch; from synth_engine.model.optimiser import AdamW; p = torch.nn.Parameter(torch.ones(2)); "
        "o = AdamW([(p, 0.1)]); p.sum().backward(); o.step(0.1); o.forget_gradients(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
