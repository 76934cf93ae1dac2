"""A virtual environment for each peer, made from the versions in `peers/<peer>.txt` the first time it is needed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from synth_engine.errors import Terminal, Transient

PYTHON = (3, 11)
"""The versions in the files were resolved for it."""

LAST_LINES = 5


def pins(peer: str) -> Path | None:
    """The file of versions, None for a peer that runs in the environment of the benchmark itself."""
    path = Path(__file__).parent / "peers" / f"{peer}.txt"
    return path if path.exists() else None


def interpreter(peer: str, folder: Path) -> Path:
    """The Python that has this peer installed; its environment is made anew if its versions have changed.

    Where packages come from is for pip's own settings to say. Raises `Transient` with what pip said last if it fails.
    """
    versions = pins(peer)
    if versions is None:
        return Path(sys.executable)
    home, wanted = folder / peer, hashlib.sha256(versions.read_bytes()).hexdigest()
    python, stamp = home / "bin" / "python", home / "installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    if sys.version_info[:2] != PYTHON:
        raise Terminal(
            f"The versions of {peer} are for Python {PYTHON[0]}.{PYTHON[1]}",
            value=f"{sys.version_info[0]}.{sys.version_info[1]}",
            advice="run the benchmark with that version",
        )
    venv.create(home, with_pip=True, clear=True)
    # PyTorch goes first, by itself: where its CPU build has an index of its own, pip can be pointed there by PIP_EXTRA_INDEX_URL.
    torch = next(line for line in versions.read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
    _pip(python, peer, torch)
    _pip(python, peer, "--no-deps", "-r", str(versions))
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _pip(python: Path, peer: str, *what: str) -> None:
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", *what], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise Transient(f"The environment of {peer} must be installable", value=" ".join(said[-LAST_LINES:]), advice="see what pip needs")
