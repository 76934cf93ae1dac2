"""The command line: every step is a command, errors are advice on stderr, their type is the exit code."""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from synth_engine import cli
from synth_engine.workspace import STEPS

SCHEMA = """
tables:
  customer:
    primary_key: [id]
    columns: {id: {kind: identifier}, city: {kind: category}, born: {kind: date}}
  order:
    primary_key: [id]
    foreign_keys:
      - {columns: [customer], references: {table: customer, columns: [id]}}
"""

SETTINGS = """
training: {size: small, max_epochs: 2}
validation: {distribution_distance: 100, row_count_tolerance: 1}
privacy: {rare_category_entities: 2, extreme_value_entities: 2}
"""


class Outcome:
    """What a command left: its exit code and all it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Synth = Callable[..., Outcome]


@pytest.fixture
def synth(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Synth:
    """Run `synth …` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["synth", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        shown = capsys.readouterr()
        code = left.value.code
        return Outcome(code if isinstance(code, int) else 0, shown.out, shown.err)

    return call


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder of CSV files with a schema file and settings beside it."""
    draw, folder = random.Random(1), tmp_path / "shop"
    folder.mkdir()
    customers = [
        [i, draw.choice(["Ulm", "Bonn", "Kiel"]), f"19{draw.randint(50, 99)}-0{draw.randint(1, 9)}-1{draw.randint(0, 9)}"]
        for i in range(80)
    ]
    orders = [[i, draw.choice(customers)[0], draw.randint(100, 9999) / 100] for i in range(300)]
    for name, header, rows in (("customer", ["id", "city", "born"], customers), ("order", ["id", "customer", "price"], orders)):
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    return folder


# -- help --------------------------------------------------------------------------------------------------------------


def test_help_lists_run_and_then_the_steps_in_order(synth: Synth) -> None:
    outcome = synth("--help")
    words = [line.split()[0] for line in outcome.out.partition("Commands:")[2].splitlines() if line.startswith("  ") and line[2] != " "]
    assert outcome.code == 0
    assert words == ["run", *STEPS]


@pytest.mark.parametrize("command", ["run", *STEPS])
def test_every_command_takes_a_config_and_a_workspace(synth: Synth, command: str) -> None:
    text = synth(command, "--help").out
    assert "--config FILE" in text
    assert "--workspace URI" in text


# -- exit codes --------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_told_all_at_once(synth: Synth) -> None:
    outcome = synth("run")
    assert outcome.code == 2
    assert "source: must be given" in outcome.err
    assert "target: must be given" in outcome.err
    assert "--source with a SQLAlchemy URL" in outcome.err


def test_faults_of_the_settings_are_told_all_at_once(synth: Synth, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("sed: 1\ntraining: {max_epochs: 0}\nprivacy: {rare: 1}\n")
    outcome = synth("generate", "--config", "bad.yaml", "--rows", "orders=many")
    assert outcome.code == 2
    assert "has 4 faults" in outcome.err
    for path in ("sed", "training.max_epochs", "privacy.rare", "rows.orders"):
        assert f"{path}: " in outcome.err
    assert "Traceback" not in outcome.err


def test_rows_and_first_keys_must_be_written_as_table_and_number(synth: Synth) -> None:
    outcome = synth("generate", "--rows", "orders", "--key-start", "customers", "--key-start", "orders=5")
    assert outcome.code == 2
    assert "--rows: must be written TABLE=N. Found: 'orders'" in outcome.err
    assert "--key-start: must be written TABLE=N. Found: 'customers'" in outcome.err


def test_a_first_key_must_be_a_number_and_of_a_table_that_is_there(synth: Synth, shop: Path) -> None:
    assert "key_start.orders: " in synth("generate", "--key-start", "orders=many").err
    outcome = synth("run", "--source", str(shop), "--target", "twin", "--schema", "schema.yaml", "--key-start", "customers=5")
    assert outcome.code == 2
    assert "key_start.customers: there is no such table. Next step: did you mean 'customer'" in outcome.err


@pytest.mark.parametrize("arguments", [("rnu",), ("run", "--sede", "1"), ("run", "--seed", "x"), ("run", "extra")])
def test_wrong_usage_is_a_fault_of_configuration(synth: Synth, arguments: tuple[str, ...]) -> None:
    assert synth(*arguments).code == 2


def test_a_step_whose_predecessor_did_not_run_says_which(synth: Synth) -> None:
    outcome = synth("train", "--workspace", "empty")
    assert outcome.code != 0
    assert "run 'extract' first" in outcome.err or "run 'reflect' first" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("command", ["run", *STEPS])
def test_a_workspace_that_cannot_be_written_is_told_without_a_trace(synth: Synth, shop: Path, command: str) -> None:
    source = ["--source", str(shop)] if command in ("run", "reflect", "extract") else []
    target = ["--target", "twin"] if command in ("run", "load", "validate", "publish") else []
    outcome = synth(command, "--workspace", "/proc/nowhere", *source, *target)
    assert outcome.code == 2
    assert "The workspace must be a place that can be written. Found: /proc/nowhere: " in outcome.err
    assert "Traceback" not in outcome.err


def test_more_rows_than_memory_holds_are_told_before_any_work(synth: Synth, shop: Path) -> None:
    outcome = synth("run", "--source", str(shop), "--target", "twin", "--schema", "schema.yaml", "--rows", "customer=5000000000000")
    assert outcome.code == 2
    assert "rows.customer: all tables must fit in memory while they are generated. Found: 5,000,000,000,000 rows" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_warehouse_that_cannot_be_reached_has_its_own_exit_code(synth: Synth) -> None:
    outcome = synth("reflect", "--source", "postgresql://reader:canary@127.0.0.1:1/none")
    assert outcome.code == 4
    assert "Traceback" not in outcome.err
    assert "canary" not in outcome.err + outcome.out


def test_passwords_are_not_shown_even_if_a_url_is_in_the_wrong_place(synth: Synth) -> None:
    outcome = synth("run", "postgresql://reader:canary@host/db")
    assert outcome.code == 2
    assert "reader:***@host" in outcome.err
    assert "canary" not in outcome.err


def test_what_nobody_expected_is_shown_whole_but_for_passwords(synth: Synth, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("broken at postgresql://reader:canary@host/db")

    monkeypatch.setattr(cli, "_settings", break_down)
    outcome = synth("report")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "RuntimeError: broken at postgresql://reader:***@host/db" in outcome.err


# -- real runs ---------------------------------------------------------------------------------------------------------


def test_reflect_shows_the_schema_that_was_found(synth: Synth, shop: Path) -> None:
    outcome = synth("reflect", "--source", str(shop), "--schema", "schema.yaml", "--workspace", "work")
    assert outcome.code == 0, outcome.err
    assert "to customer.id (user)" in outcome.out
    assert "category" in outcome.out


def test_several_schema_files_are_read_one_after_the_other(synth: Synth, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("tables: {customer: {columns: {city: {kind: text}}}, order: {unique: [[id, customer]]}}")
    outcome = synth("reflect", "--source", str(shop), "--schema", "schema.yaml", "--schema", "more.yaml", "--workspace", "work")
    assert outcome.code == 0, outcome.err
    assert "to customer.id (user)" in outcome.out and "unique with customer (user)" in outcome.out
    assert "kind city: schema.yaml says category, more.yaml says text, which is used" in outcome.out


def test_reflect_shows_the_keys_that_the_data_gives_away_and_what_speaks_for_them(synth: Synth, shop: Path) -> None:
    silent = synth("reflect", "--source", str(shop), "--workspace", "work")
    assert "inferred" not in silent.out
    outcome = synth("reflect", "--source", str(shop), "--infer-keys", "--workspace", "work")
    assert outcome.code == 0, outcome.err
    for words in ("primary key (inferred)", "to customer.id (inferred)", "order (customer) -> customer (id)", "named after the table"):
        assert words in outcome.out


@pytest.mark.slow
def test_run_does_the_whole_job_and_a_second_run_finds_it_done(synth: Synth, shop: Path, tmp_path: Path) -> None:
    arguments = ["run", "--source", str(shop), "--target", str(tmp_path / "twin"), "--schema", "schema.yaml", "--config", "settings.yaml"]
    first = synth(*arguments, "--workspace", "work", "--seed", "3")
    assert first.code == 0, first.err
    assert "validation: passed" in first.out
    assert {path.stem for path in (tmp_path / "twin").glob("*.parquet")} == {"customer", "order"}
    assert (tmp_path / "work" / "synthetic" / "report" / "index.html").is_file()
    manifests = {path.name: path.read_bytes() for path in (tmp_path / "work" / "manifests").glob("*.json")}
    assert "before" not in first.out
    second = synth(*arguments, "--workspace", "work", "--seed", "3")
    assert second.code == 0, second.err
    assert "nothing to do: all 8 steps were done before, at 20" in second.out
    assert "give each refresh a new workspace" in second.out
    assert manifests == {path.name: path.read_bytes() for path in (tmp_path / "work" / "manifests").glob("*.json")}


@pytest.mark.slow
def test_the_steps_one_by_one_do_the_same_job(synth: Synth, shop: Path, tmp_path: Path) -> None:
    common = ["--workspace", "work", "--config", "settings.yaml"]
    source, target = ["--source", str(shop)], ["--target", str(tmp_path / "twin")]
    options = {"reflect": [*source, "--schema", "schema.yaml"], "extract": source, "load": target, "validate": target, "publish": target}
    for step in STEPS:
        outcome = synth(step, *common, *options.get(step, []))
        assert outcome.code == 0, f"{step}: {outcome.err}"
        assert f"{step}: done in" in outcome.out
    assert {path.stem for path in (tmp_path / "twin").glob("*.parquet")} == {"customer", "order"}
    for step in STEPS:
        assert f"{step}: nothing to do, it was done before, at 20" in synth(step, *common, *options.get(step, [])).out


@pytest.mark.slow
def test_a_failed_validation_has_its_own_exit_code_and_leaves_no_target(synth: Synth, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("training: {size: small, max_epochs: 1}\nvalidation: {distribution_distance: 0.000001}\n")
    target = tmp_path / "twin"
    outcome = synth(
        "run", "--source", str(shop), "--target", str(target), "--schema", "schema.yaml", "--config", "settings.yaml", "--workspace", "work"
    )
    assert outcome.code == 3
    assert "customer" in outcome.err or "order" in outcome.err
    assert not list(target.glob("*.parquet"))
