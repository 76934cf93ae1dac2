"""What only folders do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth_engine.errors import ConfigurationError, PublicationRefused, SourceDataError, WarehouseError, WarehouseUnavailable
from synth_engine.schema import Schema
from synth_engine.warehouse import open_warehouse, staging_name
from synth_engine.warehouse.tabular_files import file_name
from tests.warehouse.shop import SOURCE, TARGET, Shop, read_all


def _csv(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.csv").write_text(text, encoding="utf-8")


def _types(folder: Path, table: str = "t") -> dict[str, str]:
    return {c.name: c.data_type for c in open_warehouse(str(folder)).reflect(None).tables[table].columns}


# -- CSV ---------------------------------------------------------------------------------------------------------------


def test_types_are_inferred_over_the_whole_file(tmp_path: Path) -> None:
    late = "".join(f"{i},{i}\n" for i in range(30_000))
    _csv(tmp_path, "t", "a,b\n" + late + "1.5,x\n")
    assert _types(tmp_path) == {"a": "float64", "b": "string"}


def test_dates_and_times_are_recognised(tmp_path: Path) -> None:
    _csv(tmp_path, "t", "d,t,ts,tz,b\n2020-01-31,12:34:56,2020-01-31 12:34:56.5,2020-01-31 12:34:56+02,true\n,,,,\n")
    assert _types(tmp_path) == {"d": "date", "t": "time", "ts": "timestamp", "tz": "timestamptz", "b": "boolean"}


def test_integral_floats_beside_nulls_are_integers(tmp_path: Path) -> None:
    _csv(tmp_path, "t", "year,amount,exact,share\n2004.0,2.0,1,1.0\n,3.0,,0.5\n1999.0,4.0,3,\n")
    assert _types(tmp_path) == {"year": "int64", "amount": "float64", "exact": "int64", "share": "float64"}
    assert read_all(open_warehouse(str(tmp_path)), None)["t"]["year"].to_pylist() == [1999, 2004, None]


def test_leading_zeros_and_numbers_longer_than_any_integer_stay_text(tmp_path: Path) -> None:
    _csv(tmp_path, "t", "zip,account,n\n00501,12345678901234567890123,0\n10001,1,5\n")
    assert _types(tmp_path) == {"zip": "string", "account": "string", "n": "int64"}
    assert read_all(open_warehouse(str(tmp_path)), None)["t"]["zip"].to_pylist() == ["00501", "10001"]


def test_quotes_line_breaks_and_hostile_names_survive(tmp_path: Path) -> None:
    _csv(tmp_path, "order by", 'select,"a ""b"", c",per%cent\n"x, ""y""\nz",1,2\n')
    assert read_all(open_warehouse(str(tmp_path)), None)["order by"].to_pylist() == [{"select": 'x, "y"\nz', 'a "b", c': 1, "per%cent": 2}]


def test_a_file_with_a_header_only_is_an_empty_table(tmp_path: Path) -> None:
    _csv(tmp_path, "t", "a,b\n")
    assert set(_types(tmp_path)) == {"a", "b"}
    assert read_all(open_warehouse(str(tmp_path)), None)["t"].num_rows == 0


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a,b\nsecret,1\n" + b"secret,\xff\xfe\n" * 3, "line 3 is not UTF-8"),
        (b"a,b\nsecret,1\nsecret,2,3\n", "line 3 has 3 fields, the first line has 2"),
        (b"a,b\nsecret,1,2\nsecret,\xff\n", "line 2 has 3 fields, the first line has 2"),
        (b"a,b\n" + b"secret,1\n" * 50_000 + b"secret\n", "line 50002 has 1 field, the first line has 2"),
        (b"a,b\n" + b"secret,1\n" * 50_000 + b"secret,\xff\n", "line 50002 is not UTF-8"),
        (b"a,b\n" + b"secret,1\n" * 50_000 + b'secret,"1\n', "line 50002 begins a field whose quotation mark is never closed"),
        (b'a,b\nsecret,1\nsecret,"2\nsecret,3\n', "after line 2 there is a field whose quotation mark is never closed"),
        (b'a,b\nsecret,"2"3\n', "after line 1 there is a field whose quotation mark"),
        (b"a,b\r\nsecret,1\nsecret,2\r\n", "its lines end in different ways"),
        (b"", "it is empty"),
        (b"secret,SECRET,x\n1,2,3\n", "column 2 has the name of another one"),
        (b"secret, secret\n1,2\n", "column 2 has the name of another one"),
        (b"secret,,column1\n1,2,3\n", "column 3 has the name of another one"),
        (b"secret,1956-03-02,87400\nsecret2,1960-01-01,5\n", "column 2 is named like one of its values"),
        (b"secret,3.25\nsecret2,4.5\n", "column 2 is named like one of its values"),
        (b"secret\tid\n1\t2\n", "its one column has tabs, semicolons or bars in its name"),
        (b"secret\n" + b"1,2\n" * 3, "line 2 has 2 fields, the first line has 1"),
    ],
)
def test_a_file_that_is_no_csv_is_told_by_its_line_without_its_content(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(SourceDataError, match=r"t\.csv") as raised:
        read_all(open_warehouse(str(tmp_path)), None)
    assert fault in str(raised.value)
    assert "secret" not in str(raised.value).lower()


def test_a_file_that_is_gone_is_no_fault_of_its_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").symlink_to(tmp_path / "nowhere.csv")
    with pytest.raises(WarehouseError, match=r"must be there.*Found: .*t\.csv") as raised:
        read_all(open_warehouse(str(tmp_path)), None)
    assert not isinstance(raised.value, SourceDataError)


@pytest.mark.parametrize("header", ['"a" ,b', "Ä,ä", "straße,STRASSE", "2019,2020"])
def test_names_that_the_reader_keeps_apart_are_kept(tmp_path: Path, header: str) -> None:
    _csv(tmp_path, "t", header + "\n1,2\n")
    assert len(_types(tmp_path)) == 2


def test_neither_lines_that_begin_with_a_hash_nor_first_lines_of_another_width_are_passed_over(tmp_path: Path) -> None:
    _csv(tmp_path, "t", "id,x\n1,2\n#2,3\n3,4\n")
    assert read_all(open_warehouse(str(tmp_path)), None)["t"]["id"].to_pylist() == ["#2", "1", "3"]


def test_a_column_without_a_name_gets_one(tmp_path: Path) -> None:
    _csv(tmp_path, "t", ",x\n0,2\n")  # as pandas writes its index
    assert list(_types(tmp_path)) == ["column0", "x"]


# -- tables and schemas ------------------------------------------------------------------------------------------------


def test_a_sub_folder_of_parts_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for part, values in enumerate(([1, 2], [3])):
        pq.write_table(pa.table({"a": values}), tmp_path / "t" / f"part-{part:05d}.parquet")
    assert read_all(open_warehouse(str(tmp_path)), None)["t"]["a"].to_pylist() == [1, 2, 3]


def test_other_files_are_no_tables(tmp_path: Path) -> None:
    _csv(tmp_path, "t", "a\n1\n")
    (tmp_path / "metadata.json").write_text("{}")
    (tmp_path / ".hidden.csv").write_text("a\n1\n")
    (tmp_path / "empty folder").mkdir()
    assert list(open_warehouse(str(tmp_path)).reflect(None).tables) == ["t"]


def test_two_files_for_one_table_are_refused(tmp_path: Path) -> None:
    _csv(tmp_path, "t", "a\n1\n")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(ConfigurationError, match=r"t\.csv and t\.parquet"):
        open_warehouse(str(tmp_path)).reflect(None)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none in"):
        open_warehouse(str(tmp_path)).reflect(None)


def test_a_folder_that_may_not_be_read_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("synth_engine.warehouse.folder.tables_in", forbidden)
    with pytest.raises(
        WarehouseError, match="must be readable and writable. Found: Permission denied: .* Next step: correct its path or rights"
    ):
        open_warehouse(str(tmp_path)).reflect(None)


@pytest.mark.parametrize("schema", ["..", "a/b", ".hidden", ""])
def test_a_schema_does_not_leave_the_folder(tmp_path: Path, schema: str) -> None:
    with pytest.raises(ConfigurationError, match="sub-folder"):
        open_warehouse(str(tmp_path)).reflect(schema)


@pytest.mark.parametrize("table", ["a/b", "..", ".hidden", "_x", "per%2Fcent", "a\nb", "*?[x]", "plain"])
def test_every_table_name_has_a_file_name_that_leads_back_to_it(tmp_path: Path, table: str) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / file_name(table))
    assert list(open_warehouse(str(tmp_path)).reflect(None).tables) == [table]
    assert read_all(open_warehouse(str(tmp_path)), None)[table].num_rows == 1


# -- reading and publishing --------------------------------------------------------------------------------------------


def test_a_file_that_changes_during_a_snapshot_is_noticed(folder_shop: Shop) -> None:
    table = folder_shop.schema.tables["orders"]
    with folder_shop.warehouse.snapshot(SOURCE) as snapshot, pytest.raises(WarehouseUnavailable, match="changed"):
        pq.write_table(folder_shop.rows()["orders"].slice(0, 1), Path(folder_shop.place) / SOURCE / file_name("orders"))
        snapshot.read(table).read_all()


def test_a_publication_is_one_parquet_file_a_table_and_the_marker(folder_shop: Shop) -> None:
    schema = folder_shop.schema
    folder_shop.publish(folder_shop.stage("a run", schema, folder_shop.rows()), schema)
    target = Path(folder_shop.place) / TARGET
    assert {p.name for p in target.iterdir()} == {file_name(name) for name in schema.tables} | {".synth.json"}
    assert json.loads((target / ".synth.json").read_text())["made_by"] == "synthetic data by airflow-provider-synth"
    assert [p.name for p in Path(folder_shop.place).parent.iterdir() if p.name.startswith(".")] == []


def test_a_published_folder_is_no_table_of_the_folder_around_it(tmp_path: Path) -> None:
    _csv(tmp_path / "w", "t", "a\n1\n")
    warehouse = open_warehouse(str(tmp_path / "w"))
    _publish(tmp_path / "w", "twin")
    assert list(warehouse.reflect(None).tables) == ["t"]
    assert list(warehouse.reflect("twin").tables) == ["t"]


def _publish(root: Path, target: str | None) -> Schema:
    warehouse = open_warehouse(str(root))
    schema = Schema.of(open_warehouse(str(root)).reflect(None).tables.values())
    rows = read_all(warehouse, None)
    staging = staging_name(target, "a run")
    warehouse.create_staging(staging, schema)
    for name, table in schema.tables.items():
        warehouse.load(staging, table, rows[name].to_batches())
    warehouse.publish(staging, target, schema, replace_foreign_tables=True, lock_timeout_seconds=1)
    return schema


def test_a_target_around_the_source_is_refused(folder_shop: Shop) -> None:
    with pytest.raises(PublicationRefused, match="source"):
        folder_shop.warehouse.check_target(None, folder_shop.schema, source=(folder_shop.place, SOURCE), replace_foreign_tables=True)


def test_a_link_to_the_source_is_the_source(folder_shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder_shop.place)
    with pytest.raises(PublicationRefused, match="source"):
        open_warehouse(str(tmp_path / "link")).check_target(
            SOURCE, folder_shop.schema, source=(folder_shop.warehouse.location, SOURCE), replace_foreign_tables=True
        )


def test_other_files_in_the_target_stay(tmp_path: Path) -> None:
    _csv(tmp_path / "w", "t", "a\n1\n")
    (tmp_path / "w" / "notes.txt").write_text("keep")
    (tmp_path / "w" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "w" / "deep" / "er" / "file").write_text("keep too")
    _publish(tmp_path / "w", None)
    assert {p.name for p in (tmp_path / "w").iterdir()} == {"t.parquet", "notes.txt", "deep", ".synth.json"}
    assert (tmp_path / "w" / "deep" / "er" / "file").read_text() == "keep too"


def test_a_crash_between_the_renames_is_put_right_by_the_next_reader(tmp_path: Path) -> None:
    _csv(tmp_path / "w", "t", "a\n1\n")
    os.rename(tmp_path / "w", tmp_path / ".w.synth-old")
    assert read_all(open_warehouse(str(tmp_path / "w")), None)["t"].num_rows == 1
    assert not (tmp_path / ".w.synth-old").exists()
