"""A source with orphans, and a policy to reproduce them: through a whole run, and where it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from synth_engine.errors import SourceDataError
from synth_engine.schema import Schema
from tests.small_shop import LOOSE_KEYS, Place, query

BROKEN = [
    "UPDATE shop.purchase SET payer = 9000 + id % 3 WHERE id < 1040",
    "UPDATE shop.purchase SET customer = 8000 WHERE id IN (1390, 1391)",
]
REPRODUCE = {"orphans": "reproduce"}


@pytest.fixture
def broken(tmp_path: Path) -> Place:
    (tmp_path / "schema.yaml").write_text(LOOSE_KEYS)
    return Place(tmp_path, keys=False, extra=BROKEN)


def lost(place: Place, column: str) -> list[int]:
    """Values of a key column of the twin that no customer has."""
    found = f"SELECT {column} FROM twin.purchase p ANTI JOIN twin.customer c ON c.id = p.{column} WHERE {column} IS NOT NULL"  # noqa: S608
    return [value for (value,) in query(place.file, found)]


def test_a_run_reproduces_them_and_declares_all_other_keys(broken: Place) -> None:
    manifests = broken.run(schema_file=str(broken.folder / "schema.yaml"), policy=REPRODUCE)
    assert manifests["extract"].facts["orphans"] == {"purchase.customer->customer": 2 / 400, "purchase.payer->customer": 40 / 400}
    payers, customers = lost(broken, "payer"), lost(broken, "customer")
    assert len(payers) == 40 and len(set(payers)) == 3 and len(customers) == 2
    assert not {9000, 9001, 9002, 8000}.intersection(payers + customers)
    declared = "SELECT table_name, constraint_type FROM duckdb_constraints() WHERE schema_name = 'twin' AND constraint_type LIKE '% KEY'"
    assert sorted(query(broken.file, declared)) == [("customer", "PRIMARY KEY"), ("purchase", "PRIMARY KEY")]
    assert manifests["validate"].facts["checks"]["orphans"] == 2
    page = (broken.folder / "work" / "synthetic" / "report" / "index.html").read_text()
    assert "These keys have orphans, as the source does, and are not declared in the target" in page
    assert "purchase.payer-&gt;customer (10.00% of the rows)" in page
    assert "payer → customer (id), with 10.0 % orphans as in the source" in page


def test_a_key_of_several_columns_and_a_shared_column_are_refused_by_name(tmp_path: Path) -> None:
    extra = [
        "CREATE TABLE shop.depot (town varchar, number integer)",
        "INSERT INTO shop.depot VALUES ('Ulm', 1), ('Bonn', 2)",
        "CREATE TABLE shop.parcel (id integer, town varchar, number integer)",
        "INSERT INTO shop.parcel SELECT i, 'Ulm', CASE WHEN i < 4 THEN 7 ELSE 1 END FROM range(40) r(i)",
    ]
    place = Place(tmp_path, extra=extra)
    keys = "tables: {depot: {primary_key: [town, number]}, parcel: {primary_key: [id], foreign_keys: ["
    (tmp_path / "schema.yaml").write_text(keys + "{columns: [town, number], references: {table: depot, columns: [town, number]}}]}}")
    with pytest.raises(SourceDataError) as caught:
        place.run(schema_file=str(tmp_path / "schema.yaml"), policy=REPRODUCE)
    assert "parcel: 4 orphans in parcel.town+number->depot" in str(caught.value)
    assert "Next step: mend the source, or set policy.orphans: drop (or null, for nullable keys)" in str(caught.value)


def test_the_share_of_orphans_is_no_part_of_the_fingerprint(broken: Place) -> None:
    broken.extract(schema_file=str(broken.folder / "schema.yaml"), policy=REPRODUCE)
    schema = broken.schema()
    marked = schema.with_orphans({"purchase.payer->customer": 0.1})
    assert marked.fingerprint() == schema.fingerprint() and Schema.from_dict(marked.to_dict()) == marked
    assert [k.columns for k in marked.without_broken_keys().tables["purchase"].foreign_keys] == [("customer",)]
