"""What a person sees: no password, progress in bearable doses, the schema with its keys and notes, the result of a run."""

from __future__ import annotations

from typing import Any

import pytest

from synth_engine import terminal
from synth_engine.progress import Progress
from synth_engine.schema import Column, ForeignKey, Kind, Provenance, Schema, Table
from synth_engine.workspace import Manifest


def manifest(step: str, **facts: Any) -> Manifest:
    return Manifest(step, "c", "f", 0, facts={"seconds": 1.25, "finished": "2026-11-21T09:30:00+00:00", **facts})


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach postgresql://reader:canary@host:5432/db now",
        "postgresql+psycopg://reader:canary@with@at@host/db",
        "postgresql://:canary@/db",
        "('postgresql://reader:canary@host/db')",
        "postgresql://host/db?user=reader&password=canary&sslmode=require",
        "snowflake://host/db?TOKEN=canary",
    ],
)
def test_passwords_are_never_shown(text: str) -> None:
    shown = terminal.without_passwords(text)
    assert "canary" not in shown
    assert "***" in shown


@pytest.mark.parametrize("text", ["duckdb:///data/shop.duckdb", "postgresql://reader@host/db", "ratio 3:4, mail to a@b"])
def test_text_without_passwords_is_shown_as_it_is(text: str) -> None:
    assert terminal.without_passwords(text) == text


def test_a_log_is_told_the_beginning_and_the_end_of_each_table_but_not_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress() as listener:
        for table in ("orders", "customers"):
            for done in range(1, 1001):
                listener(Progress("train", table, done, 1000, "epoch", seconds_left=5, facts={"loss": 1.23456}))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train  orders  epoch 1/1000  loss 1.235  5 s left"
    assert "train  orders  epoch 1000/1000  loss 1.235  5 s left" in lines
    assert lines[-1].startswith("train  customers  epoch 1000/1000")
    assert len(lines) < 100


def test_the_schema_is_shown_with_kinds_keys_provenance_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    customer = Table(
        "customer",
        (Column("id", Kind.IDENTIFIER, "int64", False, "BIGINT"), Column("m[b]ail", Kind.TEXT, "string")),
        ("id",),
        (("m[b]ail",),),
        undeclared={("m[b]ail",): Provenance.DBT_TEST},
    )
    order = Table(
        "order",
        (Column("customer", Kind.IDENTIFIER, "int64"), Column("extra", Kind.JSON, "json", native_type="JSONB")),
        unique=(("customer", "extra"),),
        foreign_keys=(ForeignKey(("customer",), "customer", ("id",), Provenance.USER),),
        notes=("column extra (JSONB) is of kind json, which is not modelled: it is written as null",),
    )
    terminal.show_schema(Schema.of([customer, order]))
    shown = capsys.readouterr().out
    for words in (
        "BIGINT",
        "primary key (declared)",
        "unique (dbt test)",
        "m[b]ail",
        "unique with extra",
        "to customer.id (user)",
        "identifier",
        "note: column extra (JSONB) is of",
    ):
        assert words in shown


def test_inferred_keys_are_shown_with_their_evidence_and_whether_they_are_used(capsys: pytest.CaptureFixture[str]) -> None:
    keys = [
        {"table": "order", "columns": ["id"], "taken": True, "evidence": "all 9 values differ", "parent": None, "parent_columns": []},
        {"table": "order", "columns": ["b[y]"], "taken": False, "evidence": "8 of 9", "parent": "customer", "parent_columns": ["id"]},
    ]
    terminal.show_inferred(manifest("reflect", inferred_keys=keys))
    shown = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert all(words in shown[0] for words in ("order (id) primary key", "all 9 values differ", "yes"))
    assert all(words in shown[1] for words in ("order (b[y]) -> customer (id)", "8 of 9", "no"))


def test_nothing_is_said_of_inferred_keys_where_none_were_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_inferred(manifest("reflect"))
    assert capsys.readouterr().out == ""


def test_a_step_is_shown_with_its_time_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_step(manifest("extract", rows={"orders": 12345}), {"extract"})
    assert capsys.readouterr().out == "extract: done in 1.2 s\n  orders: 12,345 rows\n"


def test_training_says_whom_values_are_protected_for(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_step(manifest("train", entities=["users: each row is an entity, with its rows of orders"]), {"train"})
    assert capsys.readouterr().out.splitlines()[1:] == [
        "values are protected for:",
        "  users: each row is an entity, with its rows of orders",
    ]


def test_training_says_of_what_tables_hardly_a_value_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_step(manifest("train", lookups=["regions", "shippers"]), {"train"})
    assert capsys.readouterr().out.splitlines()[1:] == [
        "of so few rows hardly a value is left; name in the setting keep what is no secret:",
        "  regions",
        "  shippers",
    ]


def test_a_step_that_was_done_before_says_so_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_step(manifest("extract", rows={"orders": 12345}), set())
    told = "extract: nothing to do, it was done before, at 2026-11-21 09:30:00 UTC, and nothing has changed since\n"
    assert capsys.readouterr().out == told + "  orders: 12,345 rows\n"


@pytest.fixture
def manifests() -> dict[str, Manifest]:
    """Those of a run that are shown."""
    return {
        "extract": manifest("extract", rows={"customers": 1000, "orders": 50000}),
        "train": manifest("train", entities=["customers: each row is an entity, with its rows of orders"]),
        "generate": manifest("generate", rows={"customers": 1001, "orders": 50002}),
        "validate": manifest("validate", passed=True, expectations=41),
        "report": manifest(
            "report", summary={"shapes": 0.95, "pairs": 0.9, "cardinality": 0.99, "siblings": None}, path="synthetic/report/index.html"
        ),
    }


def test_a_run_ends_with_rows_scores_times_and_the_report(manifests: dict[str, Manifest], capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_run(manifests, "runs/" + "long" * 50, manifests)
    shown = capsys.readouterr().out
    assert "1,000" in shown and "50,002" in shown
    assert "values are protected for:\n  customers: each row is an entity, with its rows of orders\n" in shown
    assert "validation: passed, 41 expectations" in shown
    assert "scores: shapes 0.950, pairs 0.900, cardinality 0.990\n" in shown
    assert "times: extract 1.2 s, train 1.2 s, generate 1.2 s, validate 1.2 s, report 1.2 s\n" in shown
    assert f"report: runs/{'long' * 50}/synthetic/report/index.html\n" in shown
    assert "before" not in shown


def test_a_run_with_nothing_to_do_says_so_and_what_to_do_instead(
    manifests: dict[str, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_run(manifests, "work", set())
    told = "nothing to do: all 5 steps were done before, at 2026-11-21 09:30:00 UTC; give each refresh a new workspace"
    assert capsys.readouterr().out.splitlines()[-1] == told


def test_a_run_that_was_taken_up_again_says_what_is_not_repeated(
    manifests: dict[str, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_run(manifests, "work", {"validate", "report"})
    assert capsys.readouterr().out.splitlines()[-1] == "done before and not repeated: extract, train, generate"
