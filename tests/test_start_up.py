"""What is loaded when: a library comes into a process with the first step that needs it, so that asking for help answers at once."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from synth_engine.workspace import STEPS

PROJECT = Path(__file__).resolve().parents[1]

LEARNING = {"torch", "lightgbm", "sklearn", "scipy"}
"""What only making a model, or judging one, needs."""
JUDGING = {"great_expectations", "sdmetrics", "jinja2"}
DATA = {"pandas", "pyarrow", "numpy", "duckdb", "sqlalchemy"}
SETTINGS = {"pydantic", "yaml", "fsspec", "rich"}

COMMAND = """
import sys
from synth_engine import cli
sys.argv = ["synth", *sys.argv[1:]]
try:
    cli.main()
except SystemExit as end:
    assert end.code in (0, None), end.code
"""


def loaded_by(program: str, *arguments: str, folder: Path = PROJECT) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded once it has run the program to its end."""
    told = program + "\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"
    search = f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\n"
    done = subprocess.run([sys.executable, "-c", search + told, *arguments], capture_output=True, text=True, check=True, cwd=folder)
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with one CSV file."""
    folder = tmp_path / "shop"
    folder.mkdir()
    with (folder / "orders.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [["id", "placed", "price"], *([i, f"2024-01-{i:02d}", i / 4 if i % 5 else None] for i in range(1, 29))]
        )
    return tmp_path


def test_the_package_and_its_command_line_load_no_library_of_a_step() -> None:
    for module in ("synth_engine", "synth_engine.cli"):
        loaded = loaded_by(f"import {module}")
        assert "synth_engine" in loaded
        assert loaded & (LEARNING | JUDGING | DATA | SETTINGS) == set()


@pytest.mark.parametrize("arguments", [("--help",), *((command, "--help") for command in ("run", *STEPS))], ids=" ".join)
def test_help_loads_no_library_of_a_step(arguments: tuple[str, ...]) -> None:
    loaded = loaded_by(COMMAND, *arguments)
    assert "click" in loaded
    assert loaded & (LEARNING | JUDGING | DATA | SETTINGS) == set()


# Of what reads tables, PyArrow loads pandas where that is installed, as soon as it is handed a date: no step can help it.


@pytest.mark.parametrize("further", [(), ("--infer-keys",)], ids=["declared keys", "inferred keys"])
def test_reflecting_loads_what_reads_tables_and_nothing_that_learns_or_judges(shop: Path, further: tuple[str, ...]) -> None:
    loaded = loaded_by(COMMAND, "reflect", "--source", "shop", *further, folder=shop)
    assert (shop / "synth-workspace" / "manifests" / "reflect.json").exists()
    assert loaded & (LEARNING | JUDGING) == set()


def test_extracting_loads_nothing_that_learns_or_judges(shop: Path) -> None:
    loaded_by(COMMAND, "reflect", "--source", "shop", folder=shop)
    loaded = loaded_by(COMMAND, "extract", "--source", "shop", folder=shop)
    assert (shop / "synth-workspace" / "manifests" / "extract.json").exists()
    assert loaded & (LEARNING | JUDGING) == set()


def test_the_python_interface_loads_torch_with_the_first_model_only() -> None:
    loaded = loaded_by("from synth_engine import Config, Schema, SynthModel, generate, infer_schema, train\nConfig.build({})")
    assert "pyarrow" in loaded
    assert loaded & (LEARNING | JUDGING | {"pandas"}) == set()


def test_the_operators_and_the_dag_load_nothing_that_learns_or_judges() -> None:
    loaded = loaded_by(
        "import airflow_provider_synth.hooks.warehouse, airflow_provider_synth.operators.steps, airflow_provider_synth.task_group\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import synth_refresh",
        str(PROJECT / "dags"),
    )
    assert "synth_refresh" in loaded
    assert loaded & ((LEARNING | JUDGING | {"synth_engine", "duckdb", "pandas"}) - {"jinja2"}) == set()
