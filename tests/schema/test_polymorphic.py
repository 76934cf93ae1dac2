"""Polymorphic references in the schema: written in YAML, told against the tables that are there, and known wherever a schema goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError
from synth_engine.polymorphic import expanded, with_hidden_keys
from synth_engine.schema import Column, ForeignKey, Kind, PolymorphicKey, Schema, Table
from synth_engine.schema.checks import check_settings
from synth_engine.schema.files import SchemaFile, apply_schema_file, read_schema_file


def column(name: str, data_type: str = "int64", *, nullable: bool = True) -> Column:
    return Column(name, Kind.INTEGER, data_type, nullable)


FOUND = Schema.of(
    [
        Table("comment", (column("id"), column("kind", "string"), column("about", "string"), column("day", "date"), column("by"))),
        Table("post", (column("id"), column("title", "string")), ("id",)),
        Table("user", (column("id", "uuid"), column("mail", "string"), column("score", "float64")), ("id",), (("mail",), ("score",))),
    ]
)
GOOD = "{type: kind, id: about, parents: {post: post.id, user: user.mail}}"


def written(tmp_path: Path, *references: str, more: str = "") -> SchemaFile:
    path = tmp_path / "schema.yaml"
    path.write_text(f"tables:\n  comment:\n    primary_key: [id]\n    polymorphic: [{', '.join(references)}]\n{more}")
    return read_schema_file(path)


def faults(tmp_path: Path, *references: str, more: str = "") -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        apply_schema_file(FOUND, written(tmp_path, *references, more=more))
    return str(raised.value).split("\n")


def test_a_reference_is_read_with_its_parents_by_type(tmp_path: Path) -> None:
    schema = apply_schema_file(FOUND, written(tmp_path, GOOD))
    key = PolymorphicKey("kind", "about", (("post", "post", "id"), ("user", "user", "mail")))
    assert schema.tables["comment"].polymorphic == (key,)
    assert [schema.tables["comment"].column(c).kind for c in ("kind", "about")] == [Kind.CATEGORY, Kind.IDENTIFIER]
    assert written(tmp_path, GOOD).written_kinds == {("comment", "kind"), ("comment", "about")}


def test_types_may_be_whole_numbers(tmp_path: Path) -> None:
    schema = apply_schema_file(FOUND, written(tmp_path, "{type: by, id: about, parents: {7: post.id, 8: user.id}}"))
    assert schema.tables["comment"].polymorphic[0].types == ("7", "8")


def test_all_that_does_not_fit_is_told_at_once_with_the_next_step(tmp_path: Path) -> None:
    told = "\n".join(
        faults(
            tmp_path,
            "{type: kinds, id: about, parents: {post: posts.id, user: user.ident}}",
            "{type: day, id: by, parents: {post: post.title, user: user.id}}",
        )
    )
    for fault in (
        "tables.comment.polymorphic[0].type: there must be a column of that name. Found: 'kinds'. Next step: did you mean 'kind'?",
        "tables.comment.polymorphic[0].parents.post: there must be a table of that name. Found: 'posts'. Next step: did you mean 'post'?",
        "tables.comment.polymorphic[0].parents.user: there must be a column of that name. Found: 'ident'",
        "polymorphic[1].parents.post: an id must refer to the primary key or a unique key, of one column. Found: post.title is neither. "
        "Next step: if it is unique, say so under tables.post.unique",
        "polymorphic[1].parents.user: an id must be of the type of the key it refers to. Found: int64 refers to uuid",
        "polymorphic[1].type: a type must be text or a whole number. Found: date",
    ):
        assert fault in told


def test_type_and_id_belong_to_no_other_key(tmp_path: Path) -> None:
    more = "    unique: [[kind, by]]\n    foreign_keys: [{columns: [about], references: {table: user, columns: [mail]}}]"
    told = "\n".join(faults(tmp_path, GOOD, "{type: kind, id: by, parents: {post: post.id}}", more=more))
    assert "polymorphic[0]: type and id must belong to no other key. Found: about belongs to comment.about->user" in told
    assert "polymorphic[0]: type and id must belong to no other key. Found: kind belongs to comment.kind+by" in told
    assert "polymorphic[0]: a unique key must hold both type and id, or neither. Found: (kind, by)" in told


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        (
            "{type: kind, id: about, parents: {post: post}}",
            "a parent must be written as table.column. Found: 'post'. Next step: write it so",
        ),
        ("{type: kind, id: about, parents: {}}", "polymorphic[0].parents"),
        ("{type: kind, parents: {post: post.id}}", "polymorphic[0].id: this entry must be there"),
    ],
)
def test_the_form_is_told_with_its_path(tmp_path: Path, reference: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        written(tmp_path, reference)
    assert fault in str(raised.value)


def test_settings_of_a_kind_or_a_format_are_refused_for_its_columns(tmp_path: Path) -> None:
    schema = apply_schema_file(FOUND, written(tmp_path, GOOD))
    with pytest.raises(ConfigurationError, match=r"columns\.comment\.kind\.kind: it is part of a polymorphic reference"):
        check_settings(schema, Config.build({"columns": {"comment": {"kind": {"kind": "text"}}}}))
    with pytest.raises(
        ConfigurationError, match=r"columns\.comment\.about\.pattern: the values of a polymorphic reference are its parents'"
    ):
        check_settings(schema, Config.build({"columns": {"comment": {"about": {"pattern": "[0-9]{3}"}}}}))


def test_a_schema_survives_json_and_another_reference_is_another_fingerprint(tmp_path: Path) -> None:
    plain, schema = (apply_schema_file(FOUND, written(tmp_path, *references)) for references in ((), (GOOD,)))
    assert Schema.from_dict(schema.to_dict()) == schema
    assert len({FOUND.fingerprint(), plain.fingerprint(), schema.fingerprint()}) == 3


def test_parents_come_first_as_far_as_declared_keys_allow(tmp_path: Path) -> None:
    schema = apply_schema_file(FOUND, written(tmp_path, GOOD))
    assert schema.parents_first() == ["post", "user", "comment"]
    post = replace(schema.tables["post"], foreign_keys=(ForeignKey(("id",), "comment", ("id",)),))
    assert Schema({**schema.tables, "post": post}).parents_first() == ["user", "comment", "post"]


def test_a_reference_to_a_table_left_out_is_dropped_and_noted(tmp_path: Path) -> None:
    chosen = apply_schema_file(FOUND, written(tmp_path, GOOD)).select(["comment", "post"]).tables["comment"]
    assert chosen.polymorphic == ()
    assert chosen.notes == ("key comment.kind+about is dropped because table 'user' is not selected",)


def test_a_model_learns_one_key_a_type_and_unique_keys_for_each(tmp_path: Path) -> None:
    schema = apply_schema_file(FOUND, written(tmp_path, GOOD, more="    unique: [[by, kind, about]]"))
    learned = expanded(schema).tables["comment"]
    assert learned.column_names == ("id", "kind", "day", "by", "about[post]", "about[user]")
    assert learned.unique == (("by", "about[post]"), ("by", "about[user]"))
    assert [(k.columns, k.parent, k.parent_columns) for k in learned.foreign_keys] == [
        (("about[post]",), "post", ("id",)),
        (("about[user]",), "user", ("mail",)),
    ]
    assert learned.column("about[post]").data_type == "int64"
    assert set(FOUND.tables["comment"].column_names) < set(with_hidden_keys(schema).tables["comment"].column_names)
