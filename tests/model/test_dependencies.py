"""Categories that another of their row settles."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.category import RARE
from synth_engine.encode.table import TableEncoder
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.dependencies import Dependency, find_constants, find_dependencies, first_of_parent, settle
from synth_engine.model.learning import learn
from synth_engine.model.preparation import prepare
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace
from tests.model.conftest import CONFIG, generate

ROWS = 2_000


def encoded(data: dict[str, list[str | None]]) -> tuple[TableEncoder, np.ndarray]:
    columns = [Column(name, Kind.CATEGORY, "string", True) for name in data]
    arrays = {name: pa.array(values, pa.string()) for name, values in data.items()}
    encoder = TableEncoder.fit(columns, arrays, {}, np.arange(len(arrays[columns[0].name])), EncodingSettings(), 0)
    return encoder, encoder.encode(arrays, {})[0]


def found(data: dict[str, list[str | None]], entity: np.ndarray | None = None, fixed: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    encoder, tokens = encoded(data)
    names = {c.slots[0]: c.column.name for c in encoder.columns}
    entity = np.arange(len(tokens)) if entity is None else entity
    return [(names[one.of], names[one.slot]) for one in find_dependencies(encoder, tokens, entity, fixed)]


def places() -> dict[str, list[str | None]]:
    """Cities of two countries each in a continent; a code of the city; and a colour that has nothing to do with them."""
    rng = np.random.default_rng(0)
    city = rng.integers(0, 40, ROWS)
    return {
        "continent": [f"k{c % 10 % 3}" for c in city],
        "country": [f"c{c % 10}" for c in city],
        "city": [f"t{c}" for c in city],
        "code": [f"#{(c * 7) % 40}" for c in city],
        "colour": [f"f{c}" for c in rng.integers(0, 5, ROWS)],
    }


def test_each_column_is_settled_by_the_coarsest_that_does_so():
    assert found(places()) == [("city", "code"), ("code", "country"), ("country", "continent")]


def test_one_row_that_contradicts_is_enough():
    data = places()
    data["country"][7] = "c0" if data["country"][7] != "c0" else "c1"
    assert ("code", "country") not in found(data) and ("city", "country") not in found(data)


def test_a_value_of_too_few_contradicts_nothing():
    """It is never written: what goes with it is as good as any."""
    data = places()
    for row, country in zip(range(3), ("c1", "c2", "c3"), strict=True):
        data["city"][row], data["code"][row], data["country"][row] = "hamlet", "#hamlet", country
        data["continent"][row] = f"k{int(country[1]) % 3}"
    assert ("code", "country") in found(data)


def test_what_agrees_by_chance_settles_nothing():
    """Three rows in a hundred are unlike: in groups of five most groups are all alike."""
    rows = 60
    few = {"group": [f"g{i // 6}" for i in range(rows)], "flag": [str(i < 6) for i in range(rows)]}
    assert found(few) == []


def test_rows_of_one_entity_prove_no_more_than_one():
    rows = 400
    data = {"group": [f"g{i // 100}" for i in range(rows)], "kind": [f"k{i // 200}" for i in range(rows)]}
    assert found(data) == [("group", "kind")]
    assert found(data, np.arange(rows) // 20) == []


def test_what_must_stay_as_it_is_drawn_is_not_settled():
    assert ("code", "country") not in found(places(), fixed=("country",))


def test_rows_get_what_is_settled_in_turn():
    encoder, tokens = encoded(places())
    drawn = np.random.default_rng(1).permuted(tokens, axis=0)
    city = drawn[:, encoder.columns[2].slots[0]].copy()
    settle(drawn, 0, find_dependencies(encoder, tokens, np.arange(len(tokens)), ()))
    values = [[c.encoder.values.to_pylist()[token - 2] for token in drawn[:, c.slots[0]]] for c in encoder.columns]
    real = {row[2]: row[:2] + row[3:4] for row in zip(*places().values(), strict=True)}
    assert [real[row[2]] for row in zip(*values, strict=True)] == [(row[0], row[1], row[3]) for row in zip(*values, strict=True)]
    assert np.array_equal(drawn[:, encoder.columns[2].slots[0]], city)


def test_a_value_that_nothing_settles_is_kept_and_so_is_what_nothing_is_known_of():
    one = Dependency(0, 1, np.array([-1, -1, 3, 3], np.int32))
    tokens = np.array([[2, 2], [4, 2], [3, 3], [2, 0], [2, RARE], [0, 2]], np.int32)
    one.settle(tokens, 0)
    assert tokens[:, 0].tolist() == [2, 4, 3, 2, 2, 3]


def test_hidden_tokens_are_passed_over_and_a_dependency_survives_json():
    one = Dependency(0, 1, np.array([-1, -1, 3, 2], np.int32))
    tokens = np.array([[9, 2, 2], [9, 2, 3]], np.int32)
    Dependency.from_json(json.loads(json.dumps(one.to_json()))).settle(tokens, 1)
    assert tokens.tolist() == [[9, 3, 2], [9, 2, 3]]


def test_a_twin_has_each_city_in_its_country():
    columns = tuple(Column(name, Kind.CATEGORY, "string", False) for name in places())
    schema = Schema.of([Table("places", (Column("id", Kind.IDENTIFIER, "int64", False), *columns), ("id",))])
    model = learn(schema, {"places": pa.table({"id": np.arange(ROWS), **places()})}, CONFIG)
    twin = generate(model, seed=1)["places"].to_pandas()
    assert (twin.groupby("city").country.nunique() == 1).all() and (twin.groupby("city").code.nunique() == 1).all()
    assert (twin.groupby("country").continent.nunique() == 1).all() and twin.country.nunique() == 10
    assert model.rules() == [f"places.{b}: settled by {a}" for a, b in (("city", "code"), ("code", "country"), ("country", "continent"))]


# -- what rows of one parent share


def visits(doctors: int = 40, rows: int = 800) -> tuple[Schema, dict[str, pa.Table]]:
    """Visits to a doctor are in one ward, at one price and by one code, of which the table of doctors knows nothing."""
    rng = np.random.default_rng(5)
    doctor = rng.integers(0, doctors, rows)
    ward, price = rng.choice(["a", "b", "c"], doctors), rng.gamma(2, 40, doctors).round(2)
    columns = (
        Column("id", Kind.IDENTIFIER, "int64", False),
        Column("doctor", Kind.IDENTIFIER, "int64", True),
        Column("ward", Kind.CATEGORY, "string", False),
        Column("price", Kind.DECIMAL, "float64", False),
        Column("code", Kind.TEXT, "string", False),
        Column("minutes", Kind.INTEGER, "int64", False),
    )
    key = ForeignKey(("doctor",), "doctors", ("id",))
    schema = Schema.of([Table("doctors", columns[:1], ("id",)), Table("visits", columns, ("id",), foreign_keys=(key,))])
    data = {
        "id": pa.array(np.arange(rows)),
        "doctor": pa.array(doctor),
        "ward": pa.array(ward[doctor]),
        "price": pa.array(price[doctor]),
        "code": pa.array([f"{d:03d}-{d * 7919 % 1000:03d}" for d in doctor]),
        "minutes": pa.array(rng.integers(5, 90, rows)),
    }
    return schema, {"doctors": pa.table({"id": np.arange(doctors)}), "visits": pa.table(data)}


def constants(schema: Schema, tables: dict[str, pa.Table], fixed: tuple[str, ...] = ()) -> list[str]:
    return [one.column for one in find_constants(prepare(schema, dict(tables), 0)["visits"], fixed)]


def test_columns_in_which_rows_of_one_parent_do_not_differ_are_found():
    """The price, a number that never changes within a parent, is told by its steps, which are none."""
    schema, tables = visits()
    assert constants(schema, tables) == ["ward", "code"]
    assert constants(schema, tables, ("ward",)) == ["code"]


def test_one_row_that_differs_is_enough():
    schema, tables = visits()
    ward = tables["visits"]["ward"].to_pylist()
    ward[3] = next(other for other in "abc" if other != ward[3])
    place = tables["visits"].column_names.index("ward")
    assert constants(schema, {**tables, "visits": tables["visits"].set_column(place, "ward", pa.array(ward))}) == ["code"]


def test_parents_of_hardly_more_than_one_row_prove_nothing():
    schema, tables = visits(doctors=60, rows=24)
    assert constants(schema, tables) == []


def test_the_first_row_of_each_parent_stands_for_the_others():
    assert first_of_parent(np.array([2, -1, 0, 2, -1, 0])).tolist() == [0, 1, 2, 0, 4, 2]
    assert first_of_parent(np.zeros(0, np.int64)).tolist() == []


def test_rows_of_one_parent_share_in_the_twin_what_they_share_in_the_source(tmp_path):
    schema, tables = visits()
    model = learn(schema, tables, CONFIG)
    workspace = Workspace(str(tmp_path))
    write_model(model, workspace)
    twins = [generate(model, {"doctors": 100}, batch_rows=10**6), generate(read_model(workspace), {"doctors": 100}, batch_rows=33)]
    assert all(twins[0][name].equals(twins[1][name]) for name in twins[0])
    found = twins[0]["visits"].to_pandas().groupby("doctor").nunique()
    assert (found[["ward", "price", "code"]] == 1).all(axis=None) and (found["minutes"] > 1).any()
    assert twins[0]["visits"]["price"].to_pandas().nunique() > 30
    assert model.rules() == [f"visits.{name}: the same in all rows of one row of doctors" for name in ("ward", "code")]


def test_rows_without_a_parent_have_values_of_their_own():
    schema, tables = visits()
    doctor = pa.array([None if i % 4 == 0 else value for i, value in enumerate(tables["visits"]["doctor"].to_pylist())])
    tables["visits"] = tables["visits"].set_column(1, "doctor", doctor)
    twin = generate(learn(schema, tables, CONFIG))["visits"].to_pandas()
    assert (twin.dropna().groupby("doctor")["ward"].nunique() == 1).all()
    assert twin[twin["doctor"].isna()]["price"].nunique() > 20
