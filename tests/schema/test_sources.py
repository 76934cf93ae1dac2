"""Several schema files: later ones add and correct, each key keeps where it is from, and contradictions are told by both names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synth_engine import infer_schema
from synth_engine.config import Config
from synth_engine.errors import ConfigurationError
from synth_engine.schema import Column, ForeignKey, Kind, Provenance, Schema, Table
from synth_engine.schema.sources import apply_schema_sources
from tests.schema.test_dbt import MANIFEST, shop


def file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


PLAIN = Schema.of(
    [
        Table("a", (Column("id", Kind.INTEGER, "int64"), Column("up", Kind.INTEGER, "int64"), Column("x", Kind.TEXT, "string"))),
        Table("b", (Column("id", Kind.INTEGER, "int64"), Column("nr", Kind.INTEGER, "int64"))),
    ]
)
FIRST = """
tables:
  a:
    primary_key: [id]
    foreign_keys: [{columns: [up], references: {table: b, columns: [id]}}]
    columns: {x: {kind: category}}
  b: {primary_key: [id]}
"""
SECOND = """
tables:
  a:
    primary_key: [x]
    foreign_keys: [{columns: [up], references: {table: b, columns: [nr]}}]
    columns: {x: {kind: text}}
  b: {unique: [[nr]]}
"""


def test_a_later_file_adds_and_keys_keep_where_they_are_from(tmp_path: Path) -> None:
    more = "tables: {loose: {primary_key: [id], foreign_keys: [{columns: [id], references: {table: customers, columns: [id]}}]}}"
    schema, _ = apply_schema_sources(shop(), [MANIFEST, file(tmp_path, "more.yaml", more)], "main")
    loose, customers = schema.tables["loose"], schema.tables["customers"]
    assert loose.foreign_keys == (ForeignKey(("id",), "customers", ("id",), Provenance.USER),)
    assert loose.provenance(("id",)) is Provenance.USER
    assert customers.provenance(("id",)) is Provenance.CONTRACT
    assert not [note for note in (*loose.notes, *customers.notes) if "more.yaml" in note]


def test_a_later_file_corrects_and_a_note_names_both(tmp_path: Path) -> None:
    paths = [file(tmp_path, "one.yaml", FIRST), file(tmp_path, "two.yaml", SECOND)]
    schema, kinds = apply_schema_sources(PLAIN, paths)
    table, (one, two) = schema.tables["a"], paths
    assert table.primary_key == ("x",) and ("id",) in table.unique
    assert [key.parent_columns for key in table.foreign_keys] == [("nr",)]
    assert table.column("x").kind is Kind.TEXT and kinds == {("a", "x")}
    assert table.notes == (
        f"primary key: {one} says (id), {two} says (x), which is used",
        f"foreign key up: {one} says to b (id), {two} says to b (nr), which is used",
        f"kind x: {one} says category, {two} says text, which is used",
    )


def test_a_file_that_says_the_same_again_changes_nothing(tmp_path: Path) -> None:
    path = file(tmp_path, "one.yaml", FIRST)
    assert apply_schema_sources(PLAIN, [path, path]) == apply_schema_sources(PLAIN, [path])


@pytest.mark.parametrize("manifest_first", [True, False])
def test_what_a_person_wrote_wins_over_a_manifest_in_either_order(tmp_path: Path, manifest_first: bool) -> None:
    countries = "countries: {unique: [[name]]}"
    key = "{columns: [country], references: {table: countries, columns: [name]}}"
    text = f"tables: {{{countries}, customers: {{primary_key: [email], foreign_keys: [{key}]}}}}"
    written = file(tmp_path, "keys.yaml", text)
    schema, _ = apply_schema_sources(shop(), [MANIFEST, written] if manifest_first else [written, MANIFEST], "main")
    customers = schema.tables["customers"]
    assert customers.primary_key == ("email",) and ("id",) in customers.unique
    assert customers.foreign_keys == (ForeignKey(("country",), "countries", ("name",), Provenance.USER),)
    told = [note for note in customers.notes if str(written) in note and str(MANIFEST) in note]
    assert len(told) == 2


def test_the_faults_of_all_files_are_told_each_with_its_file(tmp_path: Path) -> None:
    paths = [
        file(tmp_path, "one.yaml", "tables: {c: {primary_key: [id]}}"),
        file(tmp_path, "two.yaml", "tables: {a: {primary_key: [idd]}}"),
        tmp_path / "three.yaml",
    ]
    with pytest.raises(ConfigurationError) as raised:
        apply_schema_sources(PLAIN, paths)
    for path, fault in zip(
        paths, ("tables.c: there must be a table", "tables.a.primary_key: there must be a column", "readable"), strict=True
    ):
        assert any(told.startswith(f"{path}: ") and fault in told for told in raised.value.faults)


def test_settings_name_one_file_or_several() -> None:
    assert Config.build({"schema_file": "a.yaml"}).schema_file == ("a.yaml",)
    assert Config.build({"schema_file": ["a.json", "b.yaml"]}).schema_file == ("a.json", "b.yaml")
    assert Config.build({"schema_file": None}).schema_file == Config.build({}).schema_file == ()


def test_from_python_several_files_are_a_list(tmp_path: Path) -> None:
    import pyarrow as pa

    tables = {"a": pa.table({"id": [1, 2], "up": [1, 1], "x": ["p", "q"]}), "b": pa.table({"id": [1, 2], "nr": [1, 2]})}
    paths = [file(tmp_path, "one.yaml", FIRST), str(file(tmp_path, "two.yaml", SECOND))]
    assert infer_schema(tables, paths).tables["a"].primary_key == ("x",)


# -- the dbt package dbt_constraints ---------------------------------------------------------------------------------------


def manifest(*tests: tuple[str, str, dict[str, Any]]) -> str:
    """A manifest of models a and b with tests (model, name, arguments), as the package writes them."""
    models = {
        f"model.p.{name}": {"unique_id": f"model.p.{name}", "resource_type": "model", "name": name, "package_name": "p", "schema": "main"}
        for name in PLAIN.tables
    }
    nodes: dict[str, Any] = dict(models)
    for number, (model, name, arguments) in enumerate(tests):
        nodes[f"test.p.{number}"] = {
            "unique_id": f"test.p.{number}",
            "resource_type": "test",
            "name": f"{name}_{number}",
            "attached_node": f"model.p.{model}",
            "test_metadata": {"namespace": "dbt_constraints", "name": name, "kwargs": arguments},
        }
    metadata = {"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json"}
    return json.dumps({"metadata": metadata, "nodes": nodes, "sources": {}})


@pytest.mark.parametrize("plural", [True, False])
def test_tests_of_dbt_constraints_are_keys(tmp_path: Path, plural: bool) -> None:
    def named(argument: str, column: str) -> dict[str, Any]:
        return {f"{argument}s": [column]} if plural else {argument: column}

    parent = {"pk_table_name": "ref('b')", **named("pk_column_name", "id")}
    text = manifest(
        ("b", "primary_key", named("column_name", "id")),
        ("b", "unique_key", named("column_name", "nr")),
        ("a", "primary_key", {"column_names": ["id", "up"]}),
        ("a", "foreign_key", {**named("fk_column_name", "up"), **parent}),
    )
    schema, _ = apply_schema_sources(PLAIN, [file(tmp_path, "manifest.json", text)])
    a, b = schema.tables["a"], schema.tables["b"]
    assert (a.primary_key, b.primary_key, b.unique) == (("id", "up"), ("id",), (("nr",),))
    assert a.foreign_keys == (ForeignKey(("up",), "b", ("id",), Provenance.DBT_TEST),)
    assert {b.provenance(key) for key in (b.primary_key, *b.unique)} == {Provenance.DBT_TEST}
    assert not b.column("id").nullable


def test_a_foreign_key_of_dbt_constraints_beneath_a_column_names_it_so(tmp_path: Path) -> None:
    arguments = {"column_name": "up", "pk_table_name": "ref('b')", "pk_column_name": "id"}
    text = manifest(("b", "primary_key", {"column_name": "id"}), ("a", "foreign_key", arguments))
    schema, _ = apply_schema_sources(PLAIN, [file(tmp_path, "manifest.json", text)])
    assert schema.tables["a"].foreign_keys == (ForeignKey(("up",), "b", ("id",), Provenance.DBT_TEST),)
