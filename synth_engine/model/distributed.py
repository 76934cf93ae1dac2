"""Several processes that train one network, as `torchrun` starts them: what they say to each other.

They hold the same weights. Of every batch each takes its share, and the gradients are added up before a step, so that a
step is that of one process with the whole batch. A process alone says nothing to anyone, and nothing is computed for that.
Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed as dist
from torch import nn

from synth_engine.errors import Terminal, Transient

WAIT = timedelta(days=7)
"""How long a process waits for another before it gives up. It may be as long as a source takes to be read; that one of them
has ended, `torchrun` notices by itself, and ends the others."""


@dataclass
class Team:
    """This process among those that train together: number `rank` of `size`, number `place` of those on its machine. The first one
    leads: it decides, and tells the others what to train. Made without anything it is one process alone."""

    rank: int = 0
    size: int = 1
    place: int = 0
    training: bool = False
    """Whether the processes are amid a training, and so do not listen to what is told."""

    @classmethod
    def joined(cls) -> Team:
        """The processes that this one was started with, once all of them are there. Numbers on CPU travel by gloo, those on GPUs
        by NCCL."""
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo", timeout=WAIT)
        return cls(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))

    @property
    def follows(self) -> bool:
        return self.rank > 0

    def device(self, wanted: torch.device) -> torch.device:
        """The device of this process: of several GPUs its own. Raises `Terminal` if the machine has too few."""
        if self.size == 1 or wanted.type != "cuda":
            return wanted
        if self.place >= torch.cuda.device_count():
            raise Terminal(
                "Every process needs a GPU of its own",
                value=f"process {self.place + 1} on a machine with {torch.cuda.device_count()}",
                advice="start as many processes a machine as it has GPUs, or set training.device to cpu",
            )
        torch.cuda.set_device(self.place)
        return torch.device("cuda", self.place)

    # -- one training ------------------------------------------------------------------------------------------------------

    def share(self, count: int) -> NDArray[np.int64]:
        """Which of `count` things are this process's; they are dealt out in turn, so that neighbours, which are alike, go to different
        processes. Of few things it may be none."""
        return np.arange(self.rank, count, self.size)

    def start_alike(self, network: nn.Module) -> None:
        """Give all processes the leader's weights and masks: a test that decides what informs what could come out otherwise elsewhere."""
        if self.size > 1:
            for tensor in chain(network.parameters(), network.buffers()):
                if tensor.is_floating_point():
                    _from_leader(tensor.data)

    def add_gradients(self, network: nn.Module) -> None:
        """Give all processes the sum of their gradients, in one exchange."""
        if self.size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        _added_up(flat)
        for gradient, total in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def sums(self, *numbers: float) -> tuple[float, ...]:
        """Each number added up over all processes, the same to the bit in all of them."""
        if self.size == 1:
            return numbers
        totals = torch.tensor(numbers, dtype=torch.float64)
        _added_up(totals)
        return tuple(totals.tolist())

    def agreed(self, decision: bool) -> bool:
        """What the leader decides: clocks differ, and a process that went on alone would wait for ever."""
        if self.size == 1:
            return decision
        told = torch.tensor([decision])
        _from_leader(told)
        return bool(told.item())

    # -- what to train -----------------------------------------------------------------------------------------------------

    def tell(self, facts: dict[str, Any], arrays: Sequence[NDArray[Any]]) -> None:
        """Send facts (JSON) and arrays from the leader to all others, who must `hear` them."""
        described = [{"type": array.dtype.str, "shape": array.shape} for array in arrays]
        text = np.frombuffer(json.dumps({"facts": facts, "arrays": described}).encode(), np.uint8).copy()
        _broadcast(np.array([len(text)]))
        for array in (text, *arrays):
            _broadcast(np.require(array, requirements=["C", "W"]))

    def hear(self) -> tuple[dict[str, Any], list[NDArray[Any]]] | None:
        """What the leader tells next; None once it has dismissed the others."""
        length = _broadcast(np.zeros(1, np.int64))
        if not length[0]:
            return None
        told = json.loads(_broadcast(np.empty(length[0], np.uint8)).tobytes())
        return told["facts"], [_broadcast(np.empty(one["shape"], np.dtype(one["type"]))) for one in told["arrays"]]

    def part(self) -> None:
        """End the company: the leader lets the others go, unless they are amid a training that failed. That they learn of by
        `torchrun`, which ends them."""
        if self.training:
            return
        if not self.follows:
            _broadcast(np.zeros(1, np.int64))
        dist.destroy_process_group()


ALONE = Team()


def _broadcast(array: NDArray[Any]) -> NDArray[Any]:
    """The leader's array, in the memory of this one, which must be of the same type and shape."""
    if array.size:
        _from_leader(torch.from_numpy(array.reshape(-1).view(np.uint8)))
    return array


def _from_leader(tensor: torch.Tensor) -> None:
    with _company():
        dist.broadcast(tensor, 0)


def _added_up(tensor: torch.Tensor) -> None:
    with _company():
        dist.all_reduce(tensor)


@contextmanager
def _company() -> Iterator[None]:
    """What gloo and NCCL say of a lost process, as advice."""
    try:
        yield
    except RuntimeError as error:
        raise Transient(
            "Processes that train together must all stay until the end",
            value=str(error).partition("\n")[0],
            advice="see what the one that ended first has said, and run the step again",
        ) from error
