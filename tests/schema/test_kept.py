"""A table can be kept if none of its rows must refer to one that is synthesised."""

from __future__ import annotations

import pytest

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.schema.checks import check_settings
from synth_engine.schema.kept import emptied_columns, kept_faults, with_kept_tables


def _key(name: str, nullable: bool = False) -> Column:
    return Column(name, Kind.IDENTIFIER, "int64", nullable)


COUNTRY = Table(
    "country",
    (_key("id"), _key("continent"), _key("capital", nullable=True), _key("heir", nullable=True)),
    ("id",),
    foreign_keys=(
        ForeignKey(("continent",), "continent", ("id",)),
        ForeignKey(("capital",), "city", ("id",)),
        ForeignKey(("heir",), "country", ("id",)),
    ),
)
WORLD = Schema.of(
    [
        Table("continent", (_key("id"),), ("id",)),
        COUNTRY,
        Table("city", (_key("id"), _key("country")), ("id",), foreign_keys=(ForeignKey(("country",), "country", ("id",)),)),
    ]
)


def test_a_table_is_kept_with_all_it_must_refer_to() -> None:
    assert check_settings(WORLD, Config.build({"keep": ["continent", "country"]})) == WORLD
    assert kept_faults(WORLD, ["continent", "country", "city"]) == []


def test_a_key_that_must_find_a_synthesised_row_is_refused_with_the_pair() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_settings(WORLD, Config.build({"keep": ["country", "city", "planet"], "rows": {"city": 3}}))
    assert len(caught.value.faults) == 3
    assert caught.value.faults[-1] == (
        "keep: country cannot be kept while continent is synthesised: country.continent->continent must not be null and would find "
        "no row. Next step: keep continent, too, or do not keep country"
    )


def test_a_key_that_may_be_null_is_emptied_and_noted_once() -> None:
    kept = ["continent", "country"]
    noted = with_kept_tables(WORLD, kept)
    assert noted.tables["country"].notes == (
        "the table is kept, but city is synthesised: key country.capital->city is written as null (capital)",
    )
    assert with_kept_tables(noted, kept) == noted
    assert {name: table.notes for name, table in noted.tables.items() if name != "country"} == {"continent": (), "city": ()}


def test_keys_that_are_known_only_after_the_settings_were_checked_are_refused_too() -> None:
    with pytest.raises(ConfigurationError, match="city cannot be kept while country is synthesised"):
        with_kept_tables(WORLD, ["city"])


def test_only_columns_that_no_other_key_needs_are_emptied() -> None:
    table = Table(
        "task",
        (_key("tenant", nullable=True), _key("no"), _key("team", nullable=True), _key("site", nullable=True)),
        ("no",),
        foreign_keys=(ForeignKey(("tenant", "team"), "team", ("tenant", "no")), ForeignKey(("tenant", "site"), "site", ("tenant", "no"))),
    )
    assert list(emptied_columns(table, ["task", "team"]).values()) == [("site",)]
    assert list(emptied_columns(table, ["task"]).values()) == [("tenant", "team"), ("tenant", "site")]


def test_a_key_whose_columns_are_all_needed_elsewhere_cannot_be_emptied() -> None:
    table = Table(
        "task",
        (_key("no"), _key("tenant", nullable=True)),
        ("no",),
        foreign_keys=(ForeignKey(("tenant",), "tenant", ("id",)), ForeignKey(("tenant",), "customer", ("tenant",))),
    )
    others = [Table(name, (_key("id"), _key("tenant")), ("id",)) for name in ("tenant", "customer")]
    assert [f.partition(":")[2].strip()[:50] for f in kept_faults(Schema.of([table, *others]), ["task", "tenant"])] == [
        "task cannot be kept while customer is synthesised:"
    ]
