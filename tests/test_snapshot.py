"""Tables in a workspace: Parquet whose bytes do not depend on batches, and the source's keys put to the test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from synth_engine import snapshot
from synth_engine.config import Policy
from synth_engine.errors import SourceDataError
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.schema.types import arrow_schema
from synth_engine.snapshot import KeyFault, mend_keys, part_rows, read_batches, read_table, write_table
from synth_engine.workspace import Workspace

NUMBERS = Table("numbers", (Column("n", Kind.INTEGER, "int32"), Column("text", Kind.TEXT, "string")))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path / "work"))


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of ten rows and parts of thirty."""
    monkeypatch.setattr(snapshot, "ROW_GROUP", 10)
    monkeypatch.setattr(snapshot, "PART_ROWS", 30)


def numbers(rows: int, batch: int) -> Iterator[pa.RecordBatch]:
    table = pa.table({"text": [f"t{i % 7}" for i in range(rows)], "n": pa.array(range(rows), pa.int64())})
    yield from table.to_batches(max_chunksize=batch)


# -- writing and reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 29, 30, 31, 60, 95])
def test_what_is_written_is_read_again(workspace: Workspace, short_parts: None, rows: int) -> None:
    folder = workspace.synthetic("numbers")
    files, total = write_table(workspace, folder, NUMBERS, numbers(rows, 7))
    back = read_table(workspace, folder, NUMBERS)
    assert total == rows == back.num_rows == sum(f.rows or 0 for f in files)
    assert back["n"].to_pylist() == list(range(rows))
    assert back.schema == arrow_schema(NUMBERS)
    assert [f.path for f in files] == workspace.parts(folder)
    assert len(files) == max(1, -(-rows // 30))


@pytest.mark.parametrize("batch", [1, 8, 10, 13, 1000])
def test_bytes_do_not_depend_on_the_size_of_the_batches(workspace: Workspace, short_parts: None, batch: int) -> None:
    whole, _ = write_table(workspace, workspace.synthetic("a"), NUMBERS, numbers(75, 75))
    cut, _ = write_table(workspace, workspace.synthetic("b"), NUMBERS, numbers(75, batch))
    assert [f.sha256 for f in whole] == [f.sha256 for f in cut]


def test_what_an_interrupted_attempt_left_is_removed(workspace: Workspace, short_parts: None) -> None:
    folder = workspace.synthetic("numbers")
    write_table(workspace, folder, NUMBERS, numbers(95, 10))
    write_table(workspace, folder, NUMBERS, numbers(5, 10))
    assert [part_rows(workspace, path) for path in workspace.parts(folder)] == [5]


def test_a_table_is_never_held_whole(workspace: Workspace, short_parts: None) -> None:
    most = 0

    def watched(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        nonlocal most
        for number, batch in enumerate(batches):
            most = max(most, number * batch.num_rows - sum(part_rows(workspace, p) for p in workspace.parts(folder)[:-1]))
            yield batch

    folder = workspace.synthetic("numbers")
    write_table(workspace, folder, NUMBERS, watched(numbers(300, 10)))
    assert most <= 40


def test_columns_come_in_the_order_they_are_asked_for(workspace: Workspace) -> None:
    folder = workspace.snapshot("numbers")
    write_table(workspace, folder, NUMBERS, numbers(3, 3))
    assert read_table(workspace, folder, NUMBERS, ["text", "n"]).column_names == ["text", "n"]
    assert [b.schema.names for b in read_batches(workspace, folder, ["text"])] == [["text"]]


# -- keys of the source ------------------------------------------------------------------------------------------------


def key(column: str, parent: str) -> ForeignKey:
    return ForeignKey((column,), parent, ("id",))


def table(name: str, *keys: ForeignKey, required: tuple[str, ...] = (), unique: tuple[tuple[str, ...], ...] = ()) -> Table:
    names = ["id", *(k.columns[0] for k in keys), *(c for u in unique for c in u if c != "id")]
    columns = tuple(Column(n, Kind.IDENTIFIER, "int64", n != "id" and n not in required) for n in dict.fromkeys(names))
    return Table(name, columns, primary_key=("id",), unique=unique, foreign_keys=keys)


def mended(workspace: Workspace, tables: list[tuple[Table, dict[str, list[Any]]]], **policy: Any) -> tuple[list[KeyFault], dict[str, Any]]:
    """The faults found, and the rows that are left, by table."""
    schema = Schema.of(t for t, _ in tables)
    for t, rows in tables:
        data = pa.table({c.name: pa.array(rows[c.name], pa.int64()) for c in t.columns})
        write_table(workspace, workspace.snapshot(t.name), t, data.to_batches())
    faults = mend_keys(workspace, schema, Policy.model_validate(policy))
    left = {t.name: read_table(workspace, workspace.snapshot(t.name), t).to_pydict() for t, _ in tables}
    return faults, left


PARENT, CHILD = table("parent"), table("child", key("of", "parent"))
GOOD = (PARENT, {"id": [1, 2, 3]})
ORPHANS = (CHILD, {"id": [1, 2, 3, 4], "of": [1, 9, None, 8]})
DUPLICATES = (PARENT, {"id": [1, 2, 2, 3, 2, None]})


def test_a_source_that_keeps_its_keys_is_left_as_it_is(workspace: Workspace) -> None:
    faults, left = mended(workspace, [GOOD, (CHILD, {"id": [1, 2], "of": [3, None]})])
    assert faults == []
    assert left["child"] == {"id": [1, 2], "of": [3, None]}


def test_orphans_and_duplicates_are_refused_together_with_counts_and_the_setting_to_change(workspace: Workspace) -> None:
    with pytest.raises(SourceDataError) as caught:
        mended(workspace, [DUPLICATES, ORPHANS])
    message = str(caught.value)
    assert "The source must keep its own keys" in message
    assert "parent: 2 duplicates in (id); parent: 1 nulls in (id); child: 2 orphans in child.of->parent" in message
    assert "policy.duplicate_keys: drop" in message
    assert "policy.orphans: drop (or null, for nullable keys)" in message


def test_one_policy_does_not_excuse_the_other_fault(workspace: Workspace) -> None:
    with pytest.raises(SourceDataError, match="2 orphans") as caught:
        mended(workspace, [DUPLICATES, ORPHANS], duplicate_keys="drop")
    assert "duplicates in" not in str(caught.value)


def test_drop_leaves_out_orphans_and_all_but_the_first_of_duplicates(workspace: Workspace) -> None:
    faults, left = mended(workspace, [DUPLICATES, ORPHANS], duplicate_keys="drop", orphans="drop")
    assert [str(f) for f in faults] == ["parent: 2 duplicates in (id)", "parent: 1 nulls in (id)", "child: 2 orphans in child.of->parent"]
    assert left == {"parent": {"id": [1, 2, 3]}, "child": {"id": [1, 3], "of": [1, None]}}


def test_nulls_in_any_column_that_must_not_have_them_are_found(workspace: Workspace) -> None:
    table = Table(
        "t", (Column("id", Kind.INTEGER, "int32", False), Column("by", Kind.INTEGER, "int32", False), Column("n", Kind.INTEGER, "int32"))
    )
    rows = {"id": [1, 2, 3], "by": [7, None, 8], "n": [None, 1, 2]}
    with pytest.raises(SourceDataError, match=r"t: 1 nulls in \(by\)"):
        mended(workspace, [(table, rows)])
    _, left = mended(workspace, [(table, rows)], duplicate_keys="drop")
    assert left["t"]["id"] == [1, 3]


def test_numbers_that_are_not_finite_are_nulls_where_there_must_be_none(workspace: Workspace) -> None:
    table = Table("t", (Column("id", Kind.INTEGER, "int64", False), Column("x", Kind.DECIMAL, "float64", False)))
    data = pa.table({"id": [1, 2, 3, 4], "x": [1.5, float("inf"), float("nan"), 2.5]})
    write_table(workspace, workspace.snapshot("t"), table, data.to_batches())
    with pytest.raises(SourceDataError, match=r"t: 2 nulls, infinities or NaN in \(x\)"):
        mend_keys(workspace, Schema.of([table]), Policy())
    mend_keys(workspace, Schema.of([table]), Policy(duplicate_keys="drop"))
    assert read_table(workspace, workspace.snapshot("t"), table)["id"].to_pylist() == [1, 4]


def test_null_empties_the_key_of_orphans_and_keeps_their_rows(workspace: Workspace) -> None:
    faults, left = mended(workspace, [GOOD, ORPHANS], orphans="null")
    assert [f.rows for f in faults] == [2]
    assert left["child"] == {"id": [1, 2, 3, 4], "of": [1, None, None, None]}


def test_null_leaves_the_row_out_where_the_key_must_not_be_null(workspace: Workspace) -> None:
    child = table("child", key("of", "parent"), required=("of",))
    _, left = mended(workspace, [GOOD, (child, {"id": [1, 2], "of": [1, 9]})], orphans="null")
    assert left["child"] == {"id": [1], "of": [1]}


def test_rows_that_refer_to_a_dropped_row_are_orphans_too(workspace: Workspace) -> None:
    grandchild = (table("grandchild", key("child", "child")), {"id": [1, 2, 3], "child": [1, 2, 4]})
    faults, left = mended(workspace, [grandchild, ORPHANS, GOOD], orphans="drop")
    assert {f.table: f.rows for f in faults} == {"child": 2, "grandchild": 2}
    assert left["grandchild"] == {"id": [1], "child": [1]}


def test_a_chain_of_rows_of_one_table_is_dropped_to_its_end(workspace: Workspace) -> None:
    person = table("person", key("boss", "person"))
    faults, left = mended(workspace, [(person, {"id": [1, 2, 3, 4, 5], "boss": [None, 1, 9, 3, 4]})], orphans="drop")
    assert [str(f) for f in faults] == ["person: 3 orphans in person.boss->person"]
    assert left["person"] == {"id": [1, 2], "boss": [None, 1]}


def test_tables_that_refer_to_each_other_are_joined_again(workspace: Workspace) -> None:
    team, player = table("team", key("captain", "player")), table("player", key("team", "team"))
    rows = [(team, {"id": [1, 2], "captain": [10, 20]}), (player, {"id": [10, 20, 21], "team": [1, 9, 2]})]
    _, left = mended(workspace, rows, orphans="drop")
    assert left == {"team": {"id": [1], "captain": [10]}, "player": {"id": [10], "team": [1]}}


def test_two_keys_on_one_column_both_empty_it(workspace: Workspace) -> None:
    child = table("child", key("of", "parent"), key("of", "other"))
    rows = [GOOD, (table("other"), {"id": [2, 3]}), (child, {"id": [1, 2, 3], "of": [1, 2, 4]})]
    _, left = mended(workspace, rows, orphans="null")
    assert left["child"]["of"] == [None, 2, None]


def test_a_unique_key_with_a_null_in_it_repeats_nothing(workspace: Workspace) -> None:
    pair = table("pair", unique=(("a", "b"),))
    rows = {"id": [1, 2, 3, 4], "a": [1, 1, None, None], "b": [1, 1, 1, 1]}
    faults, left = mended(workspace, [(pair, rows)], duplicate_keys="drop")
    assert [str(f) for f in faults] == ["pair: 1 duplicates in (a, b)"]
    assert left["pair"]["id"] == [1, 3, 4]


def test_composite_keys_are_compared_column_by_column(workspace: Workspace) -> None:
    parent = Table("parent", tuple(Column(c, Kind.INTEGER, "int64", False) for c in "xy"), primary_key=("x", "y"))
    child = Table(
        "child",
        tuple(Column(c, Kind.INTEGER, "int64") for c in ("id", "x", "y")),
        primary_key=("id",),
        foreign_keys=(ForeignKey(("x", "y"), "parent", ("x", "y")),),
    )
    rows = [(parent, {"x": [1, 2], "y": [2, 1]}), (child, {"id": [1, 2, 3, 4], "x": [1, 1, None, 2], "y": [2, 1, 7, 1]})]
    faults, left = mended(workspace, rows, orphans="drop")
    assert [str(f) for f in faults] == ["child: 1 orphans in child.x+y->parent"]
    assert left["child"]["id"] == [1, 3, 4]
