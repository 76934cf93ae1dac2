"""Progress reaches the task's log often enough to see that it lives, and seldom enough not to fill it."""

from __future__ import annotations

from airflow_provider_synth.progress import ProgressLog
from synth_engine.progress import Progress


class Watch:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def epoch(done: int, table: str = "orders") -> Progress:
    return Progress("train", table, done, 60, "epoch", facts={"loss": 1.25})


def test_the_first_sign_of_every_table_is_written_at_once() -> None:
    lines: list[str] = []
    log = ProgressLog(lines.append, clock=Watch())
    log(epoch(1))
    log(epoch(1, "customers"))
    assert lines == ["train  orders  epoch 1/60  loss 1.25", "train  customers  epoch 1/60  loss 1.25"]


def test_between_two_lines_of_a_table_some_seconds_pass() -> None:
    lines: list[str] = []
    watch = Watch()
    log = ProgressLog(lines.append, every_seconds=2, clock=watch)
    for done in range(1, 7):
        log(epoch(done))
        watch.now += 1
    assert [line.split()[3] for line in lines] == ["1/60", "3/60", "5/60"]


def test_tables_that_take_turns_do_not_fill_the_log_either() -> None:
    lines: list[str] = []
    log = ProgressLog(lines.append, clock=Watch())
    for done in range(1, 7):
        log(epoch(done, table="orders" if done % 2 else "customers"))
    assert [line.split()[3] for line in lines] == ["1/60", "2/60"]


def test_the_end_is_written_in_any_case() -> None:
    lines: list[str] = []
    log = ProgressLog(lines.append, clock=Watch())
    log(epoch(59))
    log(epoch(60))
    assert [line.split()[3] for line in lines] == ["59/60", "60/60"]
