"""Categories that another of their row settles."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.category import RARE
from synth_engine.encode.table import TableEncoder
from synth_engine.model.dependencies import Dependency, find_dependencies, settle
from synth_engine.model.learning import learn
from synth_engine.schema import Column, Kind, Schema, Table
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


def test_what_something_else_has_a_say_in_is_neither_settled_nor_settles():
    """What must not repeat may be exchanged after it was drawn."""
    assert found(places(), fixed=("country",)) == [("city", "code"), ("code", "continent")]
    assert found(places(), fixed=("city", "code")) == [("country", "continent")]


def test_a_value_whose_others_are_all_too_rare_settles_nothing():
    data = places()
    for row in range(0, ROWS, 40):
        data["city"][row], data["code"][row] = "misc", f"#{row}"
    assert ("city", "code") not in found(data)


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
