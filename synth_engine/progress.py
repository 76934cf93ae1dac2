"""How long steps tell a person where they are. A callback, so that a log, a terminal or a scheduler can show it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """One sign of life: `done` of `total` `unit`s of `step` on `table`; `facts` such as loss or rows per second."""

    step: str
    table: str | None
    done: float
    total: float
    unit: str
    seconds_left: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [self.step, self.table or "", f"{self.unit} {self.done:g}/{self.total:g}"]
        parts += [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in self.facts.items()]
        if self.seconds_left is not None:
            parts.append(f"{self.seconds_left:.0f} s left")
        return "  ".join(part for part in parts if part)


Listener = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """The listener of those who want silence."""


def per_second(rows: int, began: float) -> float:
    """Speed since `began` on the monotonic clock."""
    return rows / max(time.monotonic() - began, 1e-9)


class Advance:
    """Adds up the rows a step has done of a table and says so at every tenth, with the speed and the time left."""

    def __init__(self, step: str, table: str, listener: Listener) -> None:
        self._step, self._table, self._listener = step, table, listener
        self._done, self._said, self._began = 0, -1, time.monotonic()

    def __call__(self, rows: int, total: int) -> None:
        self._done += rows
        tenth = 10 * self._done // max(total, 1)
        if tenth > self._said:
            self._said = tenth
            speed = per_second(self._done, self._began)
            left = (total - self._done) / speed if speed else None
            self._listener(Progress(self._step, self._table, self._done, total, "rows", left, {"rows/s": round(speed)}))
