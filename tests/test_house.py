"""Rules of the house that no tool checks: what must not be imported early, spelled, or built from strings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
CODE = [path for room in ("synth_engine", "airflow_provider_synth", "dags", "demo") for path in sorted((PROJECT / room).rglob("*.py"))]
LISTED = ("*.py", "*.md", "*.toml", "*.cfg", "*.txt", "*.yaml", "*.yml", "*.j2", "*.sh", "Makefile", "run")
NOT_OURS = {".git", ".benchmark", ".demo", ".test", "build", "dist", "synth-workspace"}

HEAVY = ("torch", "pandas", "lightgbm", "sklearn", "scipy", "great_expectations", "sdmetrics", "plotly", "matplotlib", "dbt")
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
SQL = re.compile(r"\s*(select|insert|create|drop|alter|copy|delete|truncate|update|put|with|comment|set|grant)\s", re.IGNORECASE)


@pytest.mark.parametrize(
    "module",
    [
        "synth_engine",
        "synth_engine.cli",
        "synth_engine.config",
        "synth_engine.errors",
        "synth_engine.schema",
        "synth_engine.schema.files",
        "synth_engine.schema.kinds",
        "synth_engine.workspace",
        "airflow_provider_synth",
        "airflow_provider_synth.get_provider_info",
    ],
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(module).isdisjoint(HEAVY)


def test_the_command_line_starts_with_hardly_more_than_click() -> None:
    assert loaded_by("synth_engine.cli").isdisjoint({"numpy", "pyarrow", "pydantic", "sqlalchemy", "fsspec", "yaml", "rich"})


def test_the_provider_is_discovered_without_loading_airflow_or_the_engine() -> None:
    assert loaded_by("airflow_provider_synth.get_provider_info").isdisjoint({"airflow", "pyarrow", "sqlalchemy", "pydantic"})


def loaded_by(module: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after importing only this one."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    return set(done.stdout.split())


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kinds):
                yield f"{path.relative_to(PROJECT)}:{getattr(node, 'lineno', 0)}", node


def test_nothing_is_pickled() -> None:
    found = []
    for where, node in nodes(ast.Import, ast.ImportFrom):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
        found += [where for name in names if name.partition(".")[0] in PICKLES]
    assert found == []


def test_torch_files_are_read_without_running_what_is_in_them() -> None:
    found = [
        where
        for where, node in nodes(ast.Call)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "torch.load"
        and not any(k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True for k in node.keywords)
    ]
    assert found == []


def test_no_sql_is_built_from_strings() -> None:
    assert [where for where, node in nodes(ast.JoinedStr, ast.BinOp, ast.Call) if is_built_sql(node)] == []


@pytest.mark.parametrize(
    ("code", "caught"),
    [
        ('f"SELECT * FROM {table}"', True),
        ('"drop table " + name', True),
        ('"insert into %s values (1)" % name', True),
        ('"delete from {}".format(name)', True),
        ('"SELECT a " + _FROM', False),
        ('"SELECT 1"', False),
        ('f"selected {count} rows"', False),
        ('f"{count} rows"', False),
    ],
)
def test_the_check_for_built_sql_tells_it_from_messages(code: str, caught: bool) -> None:
    assert is_built_sql(ast.parse(code, mode="eval").body) is caught


def is_built_sql(node: ast.AST) -> bool:
    """Whether this is an f-string, a concatenation, a `%` or a `.format` that puts something into SQL.

    Joining constants of the module (spelled in capitals) only breaks a long statement into parts.
    """
    match node:
        case ast.BinOp(op=ast.Add(), right=ast.Name(id=name)) if name.isupper():
            return False
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), _, *_]):
            return bool(SQL.match(text))
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Add() | ast.Mod()):
            return bool(SQL.match(text))
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format")):
            return bool(SQL.match(text))
    return False


def test_no_exception_is_swallowed() -> None:
    found = [
        where
        for where, node in nodes(ast.ExceptHandler)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body)
    ]
    assert found == []


def test_nothing_is_left_for_later() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError\(\)")
    found = [f"{path.relative_to(PROJECT)}:{i}" for path in CODE for i, line in enumerate(lines(path), 1) if unfinished.search(line)]
    assert found == []


def test_no_file_names_a_path_of_one_machine() -> None:
    machine = re.compile(r"(?<![\w.{}])/(root|work|home/\w+|Users/\w+|opt/\w+)/")
    ours = list(listed_files(PROJECT))
    assert PROJECT / "pyproject.toml" in ours
    found = [f"{path.relative_to(PROJECT)}:{i}" for path in ours for i, line in enumerate(lines(path), 1) if machine.search(line)]
    assert found == []


def listed_files(folder: Path) -> Iterator[Path]:
    """Text files of the project, without what tools and environments keep in it."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in NOT_OURS and not path.name.startswith(".venv") and path.suffix != ".egg-info":
            yield from listed_files(path)
        elif any(path.match(pattern) for pattern in LISTED) and path.is_file():
            yield path


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
