"""Training in several processes: the first does the steps of a run and tells the others what to train; they train along.

Only what a network learns from travels, so the others neither read the source nor touch the workspace: its lock, its files and
the warehouses are the first one's alone, and nothing has to be prepared twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray

from synth_engine.model.context import Context
from synth_engine.model.distributed import ALONE, Team
from synth_engine.model.network import NetworkShape, RowNetwork
from synth_engine.model.training import Examples, Report, Schedule, TrainingResult, train

Result = TypeVar("Result")

_team = ALONE
"""Those that this process trains with. A process has one group of others at most, so it is the module's, as it is PyTorch's."""


def together(lead: Callable[[], Result]) -> Result | None:
    """Do `lead` in the first of the processes that `torchrun` started, with the help of the others wherever a network is trained.

    Every process calls it. In the others it returns None once the first has ended, or had ended in an error: the exit code is the
    first one's business.
    """
    global _team
    _team = Team.joined()
    try:
        if not _team.follows:
            return lead()
        while (told := _team.hear()) is not None:
            shape, examples, schedule, device = _unpacked(*told)
            _trained(shape, examples, schedule, device, lambda *_: None)
        return None
    finally:
        _team.part()
        _team = ALONE


def train_together(
    shape: NetworkShape, examples: Examples, schedule: Schedule, device: torch.device, report: Report
) -> tuple[RowNetwork, TrainingResult]:
    """`train`, in all processes that there are; alone it is that and nothing more."""
    if _team.size > 1:
        _team.tell(*_packed(shape, examples, schedule, device))
    return _trained(shape, examples, schedule, device, report)


def _trained(
    shape: NetworkShape, examples: Examples, schedule: Schedule, device: torch.device, report: Report
) -> tuple[RowNetwork, TrainingResult]:
    _team.training = _team.size > 1
    result = train(shape, examples, schedule, device, report, _team)
    _team.training = False
    return result


# -- what to train, as JSON and arrays: nothing that is executed when it is read ------------------------------------------------


class _Arrays:
    """Arrays by number; one that occurs several times (a parent's tokens in the contexts of several tables) is sent once."""

    def __init__(self) -> None:
        self.sent: list[NDArray[Any]] = []
        self._numbers: dict[int, int] = {}

    def number(self, array: NDArray[Any] | None) -> int | None:
        if array is None:
            return None
        if id(array) not in self._numbers:
            self._numbers[id(array)] = len(self.sent)
            self.sent.append(array)
        return self._numbers[id(array)]

    def of_context(self, context: Context) -> dict[str, Any]:
        return {
            "rows": context.rows,
            "links": [self.number(link) for link in context.links],
            "tokens": [self.number(tokens) for tokens in context.tokens],
            "above": [self.of_context(above) for above in context.above],
        }


def _packed(shape: NetworkShape, examples: Examples, schedule: Schedule, device: torch.device) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    arrays = _Arrays()
    facts: dict[str, Any] = {
        "shape": shape.to_json(),
        "schedule": asdict(schedule),
        "device": device.type,
        "copies": examples.copies,
        "summaries": examples.summaries,
        "context": arrays.of_context(examples.context),
        "positions": [[arrays.number(p) for p in found] for found in (examples.slot_positions, examples.context_positions)],
    }
    for name in ("tokens", "learn", "sequence", "held_out"):
        facts[name] = arrays.number(getattr(examples, name))
    return facts, arrays.sent


def _unpacked(facts: dict[str, Any], arrays: list[NDArray[Any]]) -> tuple[NetworkShape, Examples, Schedule, torch.device]:
    def of(number: int | None) -> Any:
        return None if number is None else arrays[number]

    def context(told: dict[str, Any]) -> Context:
        above = tuple(context(one) for one in told["above"])
        return Context(told["rows"], tuple(map(of, told["links"])), tuple(map(of, told["tokens"])), above)

    examples = Examples(
        of(facts["tokens"]),
        of(facts["learn"]),
        context(facts["context"]),
        of(facts["sequence"]),
        of(facts["held_out"]),
        [of(number) for number in facts["positions"][0]],
        [of(number) for number in facts["positions"][1]],
        facts["copies"],
        facts["summaries"],
    )
    return NetworkShape.from_json(facts["shape"]), examples, Schedule(**facts["schedule"]), torch.device(facts["device"])
