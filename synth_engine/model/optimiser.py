"""The optimiser's step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import Parameter
from torch.optim.adamw import adamw

BETAS, EPSILON = (0.9, 0.999), 1e-8


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019), computed by PyTorch's function of that name: its class
    loads a compiler that takes seconds to load and is not used.

    `decays` pairs each parameter with its weight decay, in units of the learning rate.
    """

    def __init__(self, decays: Iterable[tuple[Parameter, float]]) -> None:
        self._groups: dict[float, list[tuple[Parameter, torch.Tensor, torch.Tensor, torch.Tensor]]] = {}
        for parameter, decay in decays:
            means = torch.zeros_like(parameter), torch.zeros_like(parameter)
            steps = torch.zeros((), dtype=torch.float32, device=parameter.device)
            self._groups.setdefault(decay, []).append((parameter, *means, steps))

    def forget_gradients(self) -> None:
        for group in self._groups.values():
            for parameter, *_ in group:
                parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every parameter that has a gradient."""
        for decay, group in self._groups.items():
            moving = [(parameter, parameter.grad, *state) for parameter, *state in group if parameter.grad is not None]
            if not moving:
                continue
            parameters, gradients, means, squares, steps = (list(of_one) for of_one in zip(*moving, strict=True))
            adamw(
                parameters,
                gradients,
                means,
                squares,
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=rate,
                weight_decay=decay,
                eps=EPSILON,
                maximize=False,
            )
