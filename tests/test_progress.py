"""Signs of life: how far, how fast, how long still."""

from __future__ import annotations

import pytest

from synth_engine import progress
from synth_engine.progress import Advance, Progress


def test_rows_are_told_at_every_tenth_with_their_speed_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = [100.0], list[Progress]()
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    advance = Advance("load", "orders", told.append)
    for _ in range(1000):
        clock[0] += 0.01
        advance(5, 5000)
    assert [p.done for p in told] == [5, *range(500, 5001, 500)]
    assert str(told[1]) == "load  orders  rows 500/5000  rows/s 500  9 s left"
    assert told[-1].seconds_left == 0
