"""One fact, one home: what the package is, who installs what, and that the pins hold."""

from __future__ import annotations

import configparser
import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("airflow_provider_synth", "synth_engine")
NAME = "airflow-provider-synth"

pyproject: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
project: dict[str, Any] = pyproject["project"]
setup = configparser.ConfigParser(interpolation=None)
setup.read(PROJECT / "setup.cfg", encoding="utf-8")


def pins() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def needed_by(*extras: str) -> dict[str, list[Requirement]]:
    """Every distribution that the project with these extras needs, directly or not, and the requirements that ask for it.

    Read from what is installed here; what is not installed has no requirements of its own to follow.
    """
    found: dict[str, list[Requirement]] = {}
    waiting = [Requirement(f"{NAME}[{','.join(extras)}]")]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found.setdefault(name, []).append(requirement)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [r for r in requirements_of(name) if r.marker is None or r.marker.evaluate({"extra": extra})]
    del found[canonicalize_name(NAME)]
    return found


def requirements_of(name: str) -> list[Requirement]:
    if name == NAME:
        texts = list(project["dependencies"])
        texts += [add_extra(text, extra) for extra, group in project["optional-dependencies"].items() for text in group]
        return [Requirement(text) for text in texts]
    try:
        return [Requirement(text) for text in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:
        return []


def add_extra(text: str, extra: str) -> str:
    return f'{text} ; extra == "{extra}"'


# -- one home ----------------------------------------------------------------------------------------------------------


def test_setup_cfg_says_only_how_the_package_is_checked() -> None:
    homes = {section.partition(":")[0].partition("-")[0] for section in setup.sections()}
    assert homes == {"tool", "mypy", "coverage", "importlinter"}


def test_pyproject_says_only_what_the_package_is_and_what_ruff_wants() -> None:
    assert pyproject.keys() == {"build-system", "project", "tool"}
    assert pyproject["tool"].keys() == {"setuptools", "ruff"}


def test_the_checks_are_made_for_the_oldest_python_that_is_supported() -> None:
    assert project["requires-python"] == ">=3.11,<3.14"
    assert setup["mypy"]["python_version"] == "3.11"
    assert pyproject["tool"]["ruff"]["target-version"] == "py311"
    assert [c for c in project["classifiers"] if ":: 3." in c] == [f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)]


def test_the_checks_cover_both_packages_and_the_benchmark() -> None:
    assert setup["mypy"]["packages"].split(", ") == ["synth_engine", "airflow_provider_synth", "benchmarks"]
    assert setup["importlinter"]["root_packages"].split() == ["synth_engine", "airflow_provider_synth"]


def test_every_room_of_the_engine_has_its_place_in_the_order_of_imports() -> None:
    named = set(re.findall(r"synth_engine\.(\w+)", setup["importlinter:contract:rooms"]["layers"]))
    there = {path.stem for path in (PROJECT / "synth_engine").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert there - {"__init__", "__main__", "__pycache__"} <= named


def test_the_changelog_knows_the_version_or_what_is_not_released() -> None:
    text = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{project['version']}]" in text or "## [Unreleased]" in text


# -- what is installed -------------------------------------------------------------------------------------------------


def test_the_installed_package_is_this_one() -> None:
    assert metadata.version(NAME) == project["version"]


def test_airflow_finds_the_provider_by_its_entry_point() -> None:
    (entry,) = (e for e in metadata.entry_points(group="apache_airflow_provider") if e.dist and e.dist.name == NAME)
    info = entry.load()()
    assert info["package-name"] == NAME
    assert info.get("versions", [project["version"]])[0] == project["version"]


def test_the_command_is_installed() -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name="synth")
    assert callable(entry.load())


def test_every_file_of_the_packages_that_is_no_code_is_package_data() -> None:
    patterns = pyproject["tool"]["setuptools"]["package-data"]["*"]
    others = [
        path
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and not any(fnmatch.fnmatch(path.name, p) for p in patterns)
    ]
    assert others == []
    assert all((PROJECT / package / "py.typed").is_file() for package in PACKAGES)


# -- who installs what -------------------------------------------------------------------------------------------------


def test_a_scheduler_needs_no_torch() -> None:
    assert needed_by("airflow").keys().isdisjoint({"torch", "lightgbm", "pandas", "great-expectations", "sdmetrics", "duckdb"})


@pytest.mark.parametrize("extra", ["train", "duckdb", "postgres", "gx", "report"])
def test_only_a_scheduler_needs_airflow(extra: str) -> None:
    assert not [name for name in needed_by(extra) if name.startswith("apache-airflow")]


def test_the_base_is_light() -> None:
    assert len(needed_by()) <= 20
    assert needed_by().keys().isdisjoint({"torch", "pandas", "lightgbm", "scikit-learn", "apache-airflow"})


def test_snowflake_says_itself_what_a_resolver_would_get_wrong() -> None:
    asked = {
        requirement.name: str(requirement.specifier) for requirement in map(Requirement, project["optional-dependencies"]["snowflake"])
    }
    assert asked["sqlalchemy"] == "<2.1,>=2.0.50"
    assert asked["apache-airflow-providers-snowflake"] == ">=6.20"
    assert asked["snowflake-connector-python"] == "<5,>=4.8"


# -- the pins ----------------------------------------------------------------------------------------------------------


def test_constraints_name_versions_alone() -> None:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#") and not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def test_everything_that_is_installed_is_pinned_to_a_version_that_all_accept() -> None:
    pinned = pins()
    wanted = needed_by("all", "demo", "dev")
    # PyTorch pins its CUDA packages itself, and each of its builds brings others.
    unpinned = [name for name in wanted if name not in pinned and not name.startswith(("nvidia-", "cuda-", "triton", "setuptools"))]
    assert unpinned == []
    refused = [str(r) for name, asked in wanted.items() if name in pinned for r in asked if not r.specifier.contains(pinned[name], True)]
    assert refused == []


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["airflow", "train", "duckdb", "postgres", "snowflake", "gx", "report", "all"])
def test_each_extra_can_be_installed_with_the_pins(extra: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report", str(report), "-c", "constraints.txt"]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *options, f".[{extra}]"], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    pinned = pins()
    for item in json.loads(report.read_text())["install"]:
        name, version = canonicalize_name(item["metadata"]["name"]), item["metadata"]["version"].partition("+")[0]
        assert version == pinned.get(name, version)


@pytest.mark.slow
def test_a_wheel_holds_both_packages_with_their_data_and_nothing_else(tmp_path: Path) -> None:
    # Built from a copy: setuptools would leave a folder `build` in the project and put its stale files into the next wheel.
    copy = tmp_path / "project"
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, f"airflow_provider_synth-{project['version']}.dist-info"}
    source = {
        str(p.relative_to(PROJECT)) for package in PACKAGES for p in (PROJECT / package).rglob("*") if p.suffix in (".py", ".j2", ".typed")
    }
    assert source <= names
