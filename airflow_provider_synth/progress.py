"""Progress of a step as lines of the task's log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synth_engine.progress import Progress


class ProgressLog:
    """A listener that hands progress to `write`, a line each: the first and last sign of every table at once, those
    between at most once in `every_seconds`, so that a training of an hour does not fill the log store."""

    def __init__(self, write: Callable[[str], object], *, every_seconds: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._every_seconds, self._clock = write, every_seconds, clock
        self._written_at: dict[tuple[str, str | None, str], float] = {}

    def __call__(self, progress: Progress) -> None:
        subject, now = (progress.step, progress.table, progress.unit), self._clock()
        due = self._written_at.get(subject, float("-inf")) + self._every_seconds
        if now >= due or progress.done >= progress.total:
            self._written_at[subject] = now
            self._write(str(progress))
