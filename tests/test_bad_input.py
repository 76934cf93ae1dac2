"""What is wrong with settings, schema files, sources and workspaces is told before work is lost: the rule, the value, the next step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from synth_engine import pipeline
from synth_engine.config import read_settings
from synth_engine.errors import ConfigurationError, SchemaMismatch, SourceDataError, SynthError
from synth_engine.warehouse import open_warehouse
from tests.small_shop import LOOSE_KEYS, ORDERS, Place, config, query


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def refused(place: Place, error: type[SynthError], **settings: Any) -> str:
    """The message with which a run is refused; nothing of the source has been copied and nothing trained by then."""
    with pytest.raises(error) as caught:
        place.run(**settings)
    assert set(place.manifests()) <= {"reflect"}
    assert "Next step: " in str(caught.value)
    return str(caught.value)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


# -- the configuration -------------------------------------------------------------------------------------------------


def test_an_unknown_table_in_the_config(place: Place) -> None:
    message = refused(place, ConfigurationError, rows={"purchases": 10})
    assert message.startswith("rows.purchases: there is no such table. Next step: did you mean 'purchase'")


def test_an_unknown_table_among_the_selected_ones(place: Place) -> None:
    message = refused(place, ConfigurationError, tables=["customer", "purchse"])
    assert message.startswith("tables: there is no such table as 'purchse'. Next step: did you mean 'purchase'")


def test_an_unknown_table_of_entities(place: Place) -> None:
    message = refused(place, ConfigurationError, privacy={"entity_tables": ["purchse"]})
    assert message.startswith("privacy.entity_tables: there is no such table as 'purchse'. Next step: did you mean 'purchase'")


def test_tables_of_entities_of_which_one_refers_to_another(place: Place) -> None:
    message = refused(place, ConfigurationError, privacy={"entity_tables": ["customer", "purchase"]})
    assert message.startswith(
        "privacy.entity_tables: rows of purchase are part of those of customer, to which they refer. Next step: name one"
    )


def test_a_word_where_a_list_must_be(place: Place) -> None:
    with pytest.raises(ConfigurationError, match=r"keep: must be a list. Found: 'customer'. Next step: write \[customer\]"):
        place.run(keep="customer")


def test_an_unknown_column_in_the_config(place: Place) -> None:
    message = refused(place, ConfigurationError, columns={"customer": {"twon": {"kind": "category"}}})
    assert message.startswith("columns.customer.twon: there is no such column in table 'customer'. Next step: did you mean 'town'")


def test_a_config_with_five_faults_has_all_five_reported(place: Place) -> None:
    settings = {
        "tables": ["customer", "purchase", "invoice"],
        "rows": {"orders": 5, "customer": -3},
        "columns": {"purchase": {"prize": {"kind": "decimal"}, "price": {"kind": "money"}}},
    }
    message = refused(place, ConfigurationError, **settings)
    assert "The configuration has 5 faults" in message
    for number, fault in enumerate(("'invoice'", "rows.orders", "rows.customer", "columns.purchase.prize", "columns.purchase.price"), 1):
        assert f"  {number}. " in message
        assert fault in message


def test_five_faults_of_form_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config(sed=1, training={"size": "huge", "max_epochs": 0}, policy={"orphans": "keep"}, generation_batch_rows=0)
    assert len(caught.value.faults) == 5
    for path, value in (
        ("training.size", "'huge'"),
        ("training.max_epochs", "0"),
        ("policy.orphans", "'keep'"),
        ("generation_batch_rows", "0"),
    ):
        fault = next(f for f in caught.value.faults if f.startswith(path))
        assert f"Found: {value}. Next step: correct it, or leave it out for the default" in fault
    assert "sed: there is no such setting. Next step: did you mean 'seed'" in caught.value.faults


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"training": {"sizes": "small"}}, "training.sizes: there is no such setting. Next step: did you mean 'size'"),
        ({"columns": {"t": {"c": {"knd": "date"}}}}, "columns.t.c.knd: there is no such setting. Next step: did you mean 'kind'"),
        ({"telemetry": True}, "telemetry: there is no such setting. Next step: remove it or correct its name"),
    ],
)
def test_a_setting_that_does_not_exist_is_told_with_the_one_that_was_meant(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config(**settings)
    assert caught.value.faults == (fault,)


def test_a_setting_that_is_written_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("seed: 1\ntraining: {size: small}\nseed: 2\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="'seed' is written twice"):
        read_settings(tmp_path / "settings.yaml")


@pytest.mark.parametrize("again", ["source: postgresql://me:s3cret@host/db", "source: [postgresql://me:s3cret@host/db", "@s3cret: 1"])
def test_a_file_that_cannot_be_read_is_told_by_its_line_and_not_by_what_stands_there(tmp_path: Path, again: str) -> None:
    (tmp_path / "settings.yaml").write_text(f"source: postgresql://me:s3cret@host/db\n{again}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"settings\.yaml: line [23]: ") as caught:
        read_settings(tmp_path / "settings.yaml")
    assert "s3cret" not in str(caught.value)


def test_entries_that_one_mapping_takes_from_another_may_be_changed(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("links: &some {temperature: 1}\ntraining: {<<: *some, temperature: 2}\n", encoding="utf-8")
    assert read_settings(tmp_path / "settings.yaml")["training"] == {"temperature": 2}


def test_a_source_schema_that_is_not_there(place: Place) -> None:
    message = refused(place, ConfigurationError, source_schema="shopp")
    assert "'shopp'" in message
    assert "did you mean 'shop'" in message


def test_a_source_schema_without_tables(tmp_path: Path) -> None:
    place = Place(tmp_path, extra=["CREATE SCHEMA nothing"])
    message = refused(place, ConfigurationError, source_schema="nothing")
    assert message.startswith("The source schema must hold tables. Found: none in nothing of ")


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parent", "column", "found", "next_step"),
    [
        ("custmer", "id", "there must be a table of that name. Found: 'custmer'", "did you mean 'customer'"),
        ("customer", "idd", "there must be a column of that name. Found: 'idd'", "did you mean 'id'"),
        ("customer", "town", "must refer to the primary key or a unique key. Found: (town) of table 'customer' is neither", "say so under"),
    ],
)
def test_a_foreign_key_that_points_nowhere(place: Place, parent: str, column: str, found: str, next_step: str) -> None:
    key = f"{{columns: [payer], references: {{table: {parent}, columns: [{column}]}}}}"
    file = write(place.folder / "schema.yaml", f"tables: {{purchase: {{foreign_keys: [{key}]}}}}")
    message = refused(place, ConfigurationError, schema_file=file)
    assert "tables.purchase.foreign_keys[0]" in message
    assert found in message
    assert next_step in message


BROKEN = [
    "INSERT INTO shop.customer SELECT id, 'again' || id || '@mail.test', town, born FROM shop.customer WHERE id <= 4",
    "UPDATE shop.purchase SET payer = 9000 + id WHERE id < 1007",
    "UPDATE shop.purchase SET customer = 8000 WHERE id IN (1390, 1391)",
]


@pytest.fixture
def broken(tmp_path: Path) -> Place:
    """A shop that declares no keys, and breaks those its schema file names."""
    place = Place(tmp_path, keys=False, extra=BROKEN)
    write(tmp_path / "schema.yaml", LOOSE_KEYS)
    return place


def test_duplicate_primary_keys_and_orphans_are_refused_with_their_counts(broken: Place) -> None:
    message = refused(broken, SourceDataError, schema_file=str(broken.folder / "schema.yaml"))
    assert message.startswith(
        "The source must keep its own keys and hold a value where one must be, or the policy must say what to do. Found: "
    )
    for fault in ("customer: 4 duplicates in (id)", "2 orphans in purchase.customer->customer", "7 orphans in purchase.payer->customer"):
        assert fault in message
    assert "Next step: mend the source, or set policy.duplicate_keys: drop, which leaves such rows out; and policy.orphans: drop" in message


@pytest.mark.parametrize(("orphans", "purchases"), [("drop", ORDERS - 9), ("null", ORDERS - 2)])
def test_with_a_policy_duplicates_and_orphans_are_left_out_and_the_target_joins(broken: Place, orphans: str, purchases: int) -> None:
    """The key `customer` cannot be null once the schema file makes it so; `payer` can."""
    policy = {"duplicate_keys": "drop", "orphans": orphans}
    manifests = broken.run(schema_file=str(broken.folder / "schema.yaml"), policy=policy)
    assert manifests["extract"].facts["rows"] == {"customer": 150, "purchase": purchases}
    assert manifests["extract"].facts["key_faults"] == [
        "customer: 4 duplicates in (id)",
        "purchase: 2 orphans in purchase.customer->customer",
        "purchase: 7 orphans in purchase.payer->customer",
    ]
    for column in ("customer", "payer"):
        orphans_left = f"SELECT count(*) FROM twin.purchase p ANTI JOIN twin.customer c ON c.id = p.{column} WHERE p.{column} > 0"  # noqa: S608
        assert query(broken.file, orphans_left) == [(0,)]
    assert query(broken.file, "SELECT count(*), count(DISTINCT id) FROM twin.customer") == [(150, 150)]
    page = broken.workspace.read_bytes(broken.workspace.report).decode()
    assert "7 orphans in purchase.payer" in page


# -- odd tables and columns ---------------------------------------------------------------------------------------------


def odd(tmp_path: Path, *statements: str) -> tuple[Place, dict[str, Any]]:
    """A shop with one more table, and the manifests of its run."""
    place = Place(tmp_path, extra=statements)
    return place, place.run()


def test_an_empty_table_gives_an_empty_twin(tmp_path: Path) -> None:
    place, manifests = odd(
        tmp_path,
        "CREATE TABLE shop.refund (id integer PRIMARY KEY, purchase bigint REFERENCES shop.purchase (id), reason varchar, amount double)",
        "CREATE TABLE shop.step (id integer PRIMARY KEY, refund integer NOT NULL REFERENCES shop.refund (id), taken timestamp)",
    )
    assert manifests["generate"].facts["rows"]["refund"] == 0
    assert query(place.file, "SELECT count(*) FROM twin.refund") == [(0,)]
    assert query(place.file, "SELECT count(*) FROM twin.step") == [(0,)]
    note = "the table has no rows, so nothing is learned of it: its twin is empty"
    assert manifests["reflect"].facts["notes"] == {"refund": [note], "step": [note]}


def test_a_table_of_one_row_gives_a_twin_of_one_row(tmp_path: Path) -> None:
    place, _ = odd(
        tmp_path,
        """CREATE TABLE shop.owner (id integer PRIMARY KEY, name varchar NOT NULL, open boolean NOT NULL, since date NOT NULL,
            share decimal(4,2) NOT NULL)""",
        "INSERT INTO shop.owner VALUES (1, 'Florentine Canary', true, '1999-09-09', 33.33)",
    )
    ((_, name, _, since, share),) = query(place.file, "SELECT * FROM twin.owner")
    assert name != "Florentine Canary"
    assert (str(since), share) == ("1999-01-01", 30)  # the year and the first digit, no more


def test_a_schema_of_one_table_of_one_row(tmp_path: Path) -> None:
    file = tmp_path / "one.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE main.lone (id integer PRIMARY KEY, colour varchar, weight double)")
        connection.execute("INSERT INTO main.lone VALUES (1, 'red', 1.5)")
    place = Place(tmp_path)
    warehouse = open_warehouse(f"duckdb:///{file}")
    pipeline.run(config(source_schema="main"), place.workspace, warehouse, warehouse)
    assert query(file, "SELECT count(*) FROM twin.lone") == [(1,)]
    assert query(file, "SELECT count(*) FROM twin.lone WHERE weight = 1.5 OR colour = 'red'") == [(0,)]


def test_a_small_table_all_of_whose_values_are_rare_is_written_anew(tmp_path: Path) -> None:
    place, _ = odd(
        tmp_path,
        "CREATE TABLE shop.branch (id integer PRIMARY KEY, street varchar NOT NULL, open boolean NOT NULL)",
        "INSERT INTO shop.branch VALUES (1, 'Canary Row', true), (2, 'Canary Row', true), (3, 'Ash Lane', false), (4, 'Ash Lane', false)",
    )
    assert query(place.file, "SELECT count(*), count(street) FROM twin.branch WHERE street NOT IN ('Canary Row', 'Ash Lane')") == [(4, 4)]


@pytest.mark.parametrize("data_type", ["varchar", "integer", "double", "decimal(6,2)", "boolean", "date", "time", "timestamp", "uuid"])
def test_an_all_null_column_is_noted_and_stays_null(tmp_path: Path, data_type: str) -> None:
    place, manifests = odd(tmp_path, f"ALTER TABLE shop.customer ADD COLUMN void {data_type}")
    assert manifests["reflect"].facts["notes"]["customer"] == ["column void holds nothing but nulls as far as was looked"]
    assert query(place.file, "SELECT count(void), count(*) FROM twin.customer") == [(0, 150)]


def test_constant_columns_stay_constant(tmp_path: Path) -> None:
    constants = {"word": "'same'", "whole": "7", "fine": "0.25", "yes": "true", "day": "DATE '2020-02-29'"}
    types = ("varchar", "integer", "double", "boolean", "date")
    statements = [f"ALTER TABLE shop.customer ADD COLUMN {name} {kind}" for name, kind in zip(constants, types, strict=True)]
    statements += [f"UPDATE shop.customer SET {name} = {value}" for name, value in constants.items()]  # noqa: S608
    place, _ = odd(tmp_path, *statements)
    for name, value in constants.items():
        found = query(place.file, f"SELECT count(*), count(CASE WHEN {name} = {value} THEN 1 END) FROM twin.customer")  # noqa: S608
        assert found == [(150, 150)], name


def test_columns_without_nulls_get_none(tmp_path: Path) -> None:
    """However little the model has learned: a null is not unlikely but impossible."""
    place = Place(tmp_path)
    for seed in (1, 2, 3):
        place.run(seed=seed, rows={"customer": 600}, training={"max_epochs": 1})
        nulls = query(place.file, "SELECT count(*) - count(email) + count(*) - count(born) FROM twin.customer")
        assert nulls == [(0,)]
        assert query(
            place.file, "SELECT count(*) - count(placed) + count(*) - count(price) + count(*) - count(paid) FROM twin.purchase"
        ) == [(0,)]


def test_moments_stay_in_the_range_of_the_source(tmp_path: Path) -> None:
    """Siblings are told as steps from one to the next; long rows of them must not walk out of the calendar."""
    place = Place(tmp_path)
    for seed in (1, 2):
        place.run(seed=seed, rows={"purchase": 2000})
        real, made = (query(place.file, f"SELECT min(placed), max(placed) FROM {schema}.purchase")[0] for schema in ("shop", "twin"))  # noqa: S608
        assert real[0].date() <= made[0].date()
        assert made[1].date() <= real[1].date()


# -- the workspace ------------------------------------------------------------------------------------------------------


def test_a_workspace_of_another_schema(place: Place) -> None:
    place.extract()
    before = place.manifests()
    fingerprint = place.schema().fingerprint()
    query(place.file, "ALTER TABLE shop.customer ADD COLUMN phone varchar")
    with pytest.raises(SchemaMismatch) as caught:
        place.run()
    message = str(caught.value)
    assert message.startswith("A workspace belongs to one schema. Found: ")
    assert f"{place.workspace.uri} was made for fingerprint {fingerprint[:12]}" in message
    assert "Next step: use a new workspace" in message
    assert place.manifests() == before


def test_data_and_kinds_may_change_in_a_workspace(place: Place) -> None:
    before = pipeline.reflect(config(), place.workspace, place.warehouse)
    after = pipeline.reflect(config(columns={"customer": {"email": {"kind": "category"}}}), place.workspace, place.warehouse)
    assert after.fingerprint == before.fingerprint
    assert after.digest() != before.digest()
