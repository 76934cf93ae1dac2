"""Run one peer on one data set under watch: a hard time-out, the memory of all its processes, its message if it fails."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
INTERVAL = 0.2
"""Seconds between two looks at the memory."""

MESSAGE_LENGTH = 400
FINISHED = "finished"
FAILED = "failed"
OUT_OF_TIME = "ran out of time"


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `seconds` and `peak_gb` are of training and of generation, where it came so far; memory is the
    resident memory of all processes of the run together (Linux only)."""

    status: str
    message: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    peak_gb: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(command: Sequence[str | Path], target: Path, limit_seconds: float) -> Outcome:
    """Run a peer's command, which leaves its tables in `target` (see `peers.contract`), until it has handed them over; then, or
    when its time is up, kill it and all it has started. What it prints goes to `log.txt` there."""
    target.mkdir(parents=True, exist_ok=True)
    log, handed_over, samples = target / "log.txt", target / "handed_over.json", []
    handed_over.unlink(missing_ok=True)
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": ""}  # on CPU, all of them
    began = time.time()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            list(command), stdout=stream, stderr=subprocess.STDOUT, cwd=PROJECT, env=environment, start_new_session=True
        )
        try:
            while process.poll() is None and not handed_over.exists() and time.time() - began < limit_seconds:
                samples.append((time.time(), _memory(process.pid)))
                time.sleep(INTERVAL)
            status = process.poll()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not handed_over.exists():
        if status is None:
            return Outcome(OUT_OF_TIME, f"{OUT_OF_TIME} after {limit_seconds:,.0f} s")
        said = _last_words(log)
        if status < 0:  # killed, for want of memory as a rule: what it said last is not why
            return Outcome(FAILED, f"ended by signal {-status}{f', having said: {said}' if said else ''}")
        return Outcome(FAILED, said or f"ended with status {status}")
    told = json.loads(handed_over.read_text(encoding="utf-8"))
    phases: dict[str, tuple[float, float]] = told["phases"]
    return Outcome(
        FINISHED,
        seconds={name: round(end - start, 1) for name, (start, end) in phases.items()},
        peak_gb={name: _peak(samples, start, end) for name, (start, end) in phases.items()},
        remarks=told["remarks"],
    )


def _memory(session: int) -> int:
    """Bytes resident in all processes of a session; 0 where the system does not tell."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # a process may end while it is looked at
            # the name in brackets may hold anything; after it come state, parent, group, session, …, resident pages
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


def _peak(samples: Sequence[tuple[float, int]], start: float, end: float) -> float:
    """Gigabytes; a phase between two looks has the memory of the last look before its end."""
    within = [size for at, size in samples if start <= at <= end] or [size for at, size in samples if at <= end][-1:]
    return round(max(within, default=0) / 1e9, 2)


def _last_words(log: Path) -> str:
    """The error a peer ended with: the last lines that are no part of a traceback."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    start = max((i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")), default=-1)
    told = [line.strip() for line in lines[start + 1 :] if not line.startswith("  ")] if start >= 0 else lines[-1:]
    return " ".join(told)[:MESSAGE_LENGTH]
