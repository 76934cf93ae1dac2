"""Few rows that many others refer to: what yes or no says there stays with the row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from synth_engine.config import Config
from synth_engine.encode.category import CategoryEncoder
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.learning import learn
from synth_engine.model.owners import is_lookup
from synth_engine.model.state import Model
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace
from tests.model.conftest import CONFIG, generate

WEEKDAY, SATURDAY, NIGHT = [1, 1, 0, 0], [False, False, True, False], ["N", "Y", "N", "N"]
TRIPS = [300, 150, 120, 30]


def services() -> tuple[Schema, dict[str, pa.Table]]:
    """Four services, when each of which runs is said by flags, and trips of theirs."""
    rng = np.random.default_rng(4)
    ids = Column("id", Kind.IDENTIFIER, "int64", False)
    columns = (
        ids,
        Column("weekday", Kind.CATEGORY, "int64", False),
        Column("saturday", Kind.BOOLEAN, "boolean", False),
        Column("night", Kind.CATEGORY, "string", False),
        Column("depot", Kind.CATEGORY, "string", True),
    )
    trip = (ids, Column("service", Kind.IDENTIFIER, "int64", False), Column("minutes", Kind.INTEGER, "int64", False))
    key = ForeignKey(("service",), "services", ("id",))
    schema = Schema.of([Table("services", columns, ("id",)), Table("trips", trip, ("id",), foreign_keys=(key,))])
    service = rng.permutation(np.repeat(np.arange(4), TRIPS))
    rows = {"weekday": WEEKDAY, "saturday": SATURDAY, "night": NIGHT, "depot": ["Ashfield", "Birchwood", "Ashfield", "Cedar"]}
    trips = {"service": service, "minutes": rng.integers(5, 60, 600) + 30 * np.array(WEEKDAY)[service]}
    return schema, {"services": pa.table({"id": np.arange(4), **rows}), "trips": pa.table({"id": np.arange(600), **trips})}


@pytest.fixture(scope="module")
def learned() -> Model:
    return learn(*services(), CONFIG)


def test_flags_are_those_of_the_row_that_so_many_refer_to(learned: Model) -> None:
    twin = {name: table.to_pandas() for name, table in generate(learned).items()}
    found = twin["services"].assign(trips=twin["services"]["id"].map(twin["trips"]["service"].value_counts()))
    assert sorted(found[["weekday", "saturday", "night", "trips"]].itertuples(index=False, name=None)) == sorted(
        zip(WEEKDAY, SATURDAY, NIGHT, TRIPS, strict=True)
    )


def test_other_values_are_protected_as_they_are_elsewhere(learned: Model) -> None:
    assert not set(generate(learned)["services"]["depot"].to_pylist()) & {"Ashfield", "Birchwood", "Cedar"}


def test_a_twin_of_more_rows_has_each_of_them_as_often_as_the_others(learned: Model) -> None:
    twin = generate(learned, {"services": 8})["services"].to_pandas()
    assert twin["weekday"].sum() == 4 and twin["saturday"].sum() == 2 and (twin["night"] == "Y").sum() == 2


def test_a_model_from_disk_gives_the_same_bytes(learned: Model, tmp_path) -> None:
    workspace = Workspace(str(tmp_path))
    write_model(learned, workspace)
    assert generate(read_model(workspace), batch_rows=3) == generate(learned)


def test_flags_of_rows_that_are_said_to_be_entities_are_protected() -> None:
    settings = Config.build({"training": {"size": "small", "max_epochs": 2, "device": "cpu"}, "privacy": {"entity_tables": ["services"]}})
    model = learn(*services(), settings)
    services_ = model.tables["services"]
    assert services_.dealt_slots == []
    encoder = next(c.encoder for c in services_.encoder.columns if c.column.name == "night")
    assert not isinstance(encoder, CategoryEncoder)  # every value is rare: none is kept


def test_few_rows_that_many_refer_to_are_a_lookup() -> None:
    assert is_lookup(4, [np.repeat(np.arange(4), 30)])
    assert not is_lookup(4, [np.repeat(np.arange(4), 3)])
    assert not is_lookup(400, [np.repeat(np.arange(4), 30)])
    assert not is_lookup(4, [])
