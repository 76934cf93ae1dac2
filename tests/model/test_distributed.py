"""Several processes that `torchrun` starts learn what one learns, and the first of them does all the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from synth_engine import pipeline
from synth_engine.errors import Terminal
from synth_engine.model.distributed import ALONE, Team
from synth_engine.workspace import Workspace
from tests.small_shop import SETTINGS, Place, config

PROJECT = Path(__file__).resolve().parents[2]
TRAININGS = Path(__file__).with_name("training_in_company.py")
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python with one thread a process: two of several threads on few cores wait for each other."""
    here = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, env=here, timeout=600)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where one process left its weights, and where two did whose batches are half as large."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    for done in (python(TRAININGS, alone, 64), python(*TWO, TRAININGS, together, 32)):
        assert done.returncode == 0, done.stderr
    return alone, together


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("training", ["independent", "sequences", "long sequences"])
def test_two_processes_learn_what_one_learns_from_batches_twice_as_large(trained: tuple[Path, Path], training: str) -> None:
    one, two = (np.load(folder / f"{training}.npz") for folder in trained)
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-6, err_msg=name)
    alone, together = (results(folder)[training] for folder in trained)
    assert together["steps"] == alone["steps"] == 40
    assert together["epochs"] == alone["epochs"]
    assert together["training_loss"] == pytest.approx(alone["training_loss"], rel=1e-5)
    assert together["held_out_loss"] == pytest.approx(alone["held_out_loss"], rel=1e-5)


@pytest.mark.slow
def test_the_first_process_says_when_the_time_is_over(trained: tuple[Path, Path]) -> None:
    for folder in trained:
        over = results(folder)["over"]
        assert (over["steps"], over["cut_short"]) == (1, True)


@pytest.fixture
def shop(tmp_path: Path) -> Place:
    """A workspace with extracted tables, and a file of settings beside it."""
    place = Place(tmp_path)
    place.extract()
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    return place


def train_together(place: Place, *further: str) -> subprocess.CompletedProcess[str]:
    folder = place.folder
    return python(*TWO, "-m", "synth_engine", "train", "--config", folder / "settings.yaml", "--workspace", place.workspace.uri, *further)


def losses(workspace: Workspace) -> Sequence[float]:
    tables = workspace.require("train").facts["tables"].values()
    return [of_part["held_out_loss"] for of_table in tables for of_part in of_table["networks"].values()]


@pytest.mark.slow
def test_the_command_trains_in_both_and_does_everything_else_in_the_first(shop: Place) -> None:
    shutil.copytree(shop.folder / "work", shop.folder / "alone")
    alone = Workspace(str(shop.folder / "alone"))
    pipeline.train(config(), alone)
    done = train_together(shop)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train: done in") == 1
    assert done.stderr.count("tables prepared 0/2") == 1
    assert losses(shop.workspace) == pytest.approx(losses(alone), rel=1e-4)
    again = train_together(shop)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("train: nothing to do") == 1


@pytest.mark.slow
def test_what_is_wrong_is_told_once_and_ends_both(shop: Place) -> None:
    done = train_together(shop, "--seed", "-1")
    assert done.returncode != 0
    assert done.stderr.count("seed: ") == 1
    assert "exitcode  : 2" in done.stderr
    assert "Traceback" not in done.stderr.partition("torch/distributed/elastic")[0]


def test_every_process_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert Team(rank=5, size=8, place=1).device(cuda) == torch.device("cuda", 1)
    assert chosen == [1]
    assert Team(rank=2, size=3, place=2).device(cpu) == cpu
    assert ALONE.device(cuda) == cuda
    with pytest.raises(Terminal, match="process 3 on a machine with 2"):
        Team(rank=2, size=3, place=2).device(cuda)


def test_shares_are_all_there_is_and_no_part_of_it_twice() -> None:
    for count in (0, 1, 7, 8):
        shares = [Team(rank=rank, size=3).share(count) for rank in range(3)]
        assert sorted(np.concatenate(shares).tolist()) == list(range(count))
