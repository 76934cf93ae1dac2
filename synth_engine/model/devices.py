"""The device that a network works on, what is kept in its memory, and how arrays get there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth_engine.errors import Terminal

HOST = torch.device("cpu")
MOST_PINNED = 1 << 24
"""Bytes of an array that travels by pinned memory; PyTorch keeps that for the next one, so whole tables must not."""


def device_of(wanted: str) -> torch.device:
    """The device that a setting (`training.device`) stands for. Raises `Terminal` if it is one that is not there."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise Terminal(
            "training.device: a GPU that PyTorch can use must be there",
            value=f"none, with PyTorch {torch.__version__}",
            advice="run the step where there is one, install PyTorch for it, or set training.device to auto or cpu",
        )
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def home_of(device: torch.device, arrays: Iterable[NDArray[Any]]) -> torch.device:
    """Where arrays are kept while a network on this device works on them: there, if they take up at most half of what memory it has
    free; else the host's memory, from where they are moved batch by batch."""
    if device.type != "cuda":
        return device
    size = sum({id(array): array.nbytes for array in arrays}.values())
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return device if size <= (torch.cuda.mem_get_info(device)[0] + unused) // 2 else HOST


def moved(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on this device; on the host it is the array itself, if that can be written to. A GPU is not waited for: from
    pinned memory it fetches what belongs to a batch when it gets there."""
    tensor = torch.from_numpy(np.require(array, requirements="W"))
    if device.type == "cuda" and array.nbytes <= MOST_PINNED:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=tensor.is_pinned())
