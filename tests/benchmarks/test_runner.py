"""A peer is watched: what it hands over, how it fails, and that it cannot hold up the others."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from benchmarks.runner import FAILED, FINISHED, OUT_OF_TIME, Outcome, run


def watched(folder: Path, body: str, limit: float = 60) -> Outcome:
    """Run a peer that does this."""
    script = folder / "peer.py"
    script.write_text("import sys, time, subprocess\nfrom pathlib import Path\n" + textwrap.dedent(body), encoding="utf-8")
    return run([sys.executable, script, folder], folder / "out", limit)


def test_a_peer_that_finishes_is_told_with_its_times_memory_and_remarks(tmp_path: Path) -> None:
    outcome = watched(
        tmp_path,
        """
        from benchmarks.peers.contract import Task
        task = Task(Path("."), Path(sys.argv[1]) / "out", 0, 1.0, remarks=["a key left out"])
        with task.phase("training"):
            held = bytearray(300_000_000)
            time.sleep(1)
        del held
        with task.phase("generation"):
            time.sleep(0.5)
        task.finish({})
        """,
    )
    assert outcome.status == FINISHED and outcome.remarks == ["a key left out"]
    assert outcome.seconds["training"] >= 1 and outcome.seconds["generation"] >= 0.5
    if Path("/proc/self/stat").exists():
        assert outcome.peak_gb["training"] >= outcome.peak_gb["generation"] + 0.25


def test_a_peer_is_not_waited_for_once_it_has_handed_over(tmp_path: Path) -> None:
    began = time.monotonic()
    outcome = watched(
        tmp_path,
        """
        from benchmarks.peers.contract import Task
        Task(Path("."), Path(sys.argv[1]) / "out", 0, 1.0).finish({})
        time.sleep(600)
        """,
        limit=300,
    )
    assert outcome.status == FINISHED and time.monotonic() - began < 120


def test_a_peer_that_fails_is_told_with_its_message(tmp_path: Path) -> None:
    outcome = watched(tmp_path, 'print("loading")\nraise ValueError("only five tables\\nin this edition")')
    assert outcome == Outcome(FAILED, "ValueError: only five tables in this edition")


def test_a_peer_that_stops_without_a_word_is_told_by_its_status(tmp_path: Path) -> None:
    assert watched(tmp_path, "sys.exit(3)") == Outcome(FAILED, "ended with status 3")


def test_a_peer_that_is_killed_is_told_by_the_signal(tmp_path: Path) -> None:
    outcome = watched(tmp_path, 'import os\nprint("epoch 3", flush=True)\nos.kill(os.getpid(), 9)')
    assert outcome == Outcome(FAILED, "ended by signal 9, having said: epoch 3")


def test_a_peer_that_says_it_is_done_but_hands_nothing_over_has_failed(tmp_path: Path) -> None:
    assert watched(tmp_path, 'print("done")') == Outcome(FAILED, "done")


def test_a_peer_that_hangs_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    began = time.monotonic()
    outcome = watched(
        tmp_path,
        """
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (Path(sys.argv[1]) / "child").write_text(str(child.pid))
        time.sleep(600)
        """,
        limit=3,
    )
    assert outcome == Outcome(OUT_OF_TIME, "ran out of time after 3 s")
    assert time.monotonic() - began < 60
    child = int((tmp_path / "child").read_text())
    for _ in range(100):  # a killed process is there until it has been waited for
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").exists() and Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the child of the peer is still there")
