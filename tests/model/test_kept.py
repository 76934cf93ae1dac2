"""Tables that are kept: delivered as they are, and linked to as generated ones would be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.generation import Generation
from synth_engine.model.kept import digest
from synth_engine.model.learning import learn
from synth_engine.model.state import Model
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace

ORDERS = 3000
CONFIG = Config.build({"training": {"size": "small", "max_epochs": 20, "device": "cpu"}, "keep": ["region", "country"]})


def _key(name: str, data_type: str = "int64", nullable: bool = False) -> Column:
    return Column(name, Kind.IDENTIFIER, data_type, nullable)


SCHEMA = Schema.of(
    [
        Table("region", (_key("id"), Column("name", Kind.TEXT, "string", False)), ("id",)),
        Table("person", (_key("id"), _key("country", "string(2)"), Column("age", Kind.INTEGER, "int16")), ("id",), foreign_keys=(
            ForeignKey(("country",), "country", ("code",)),
        )),
        Table(
            "country",
            (
                _key("code", "string(2)"),
                _key("region"),
                _key("neighbour", "string(2)", nullable=True),
                _key("governor", nullable=True),
                Column("name", Kind.TEXT, "string", False),
                Column("founded", Kind.DATE, "date", False),
                Column("flag", Kind.BINARY, "binary"),
            ),
            ("code",),
            foreign_keys=(
                ForeignKey(("region",), "region", ("id",)),
                ForeignKey(("neighbour",), "country", ("code",)),
                ForeignKey(("governor",), "person", ("id",)),
            ),
        ),
        Table(
            "purchase",
            (_key("id"), _key("country", "string(2)"), Column("paid", Kind.CATEGORY, "string", False)),
            ("id",),
            foreign_keys=(ForeignKey(("country",), "country", ("code",)),),
        ),
    ]
)  # fmt: skip
CODES = ["DE", "FR", "IT", "PL", "AT", "CH", "DK", "BE"]
SHARES = np.array([40, 20, 12, 8, 8, 6, 6, 0]) / 100
EURO = {"DE", "FR", "IT", "AT", "BE"}


def tables() -> dict[str, pa.Table]:
    """Eight countries, most of whose children are in the first; each pays in its own currency."""
    rng = np.random.default_rng(0)
    bought = rng.choice(CODES, ORDERS, p=SHARES)
    return {
        "region": pa.table({"id": [10, 20], "name": ["west", "east"]}),
        "person": pa.table(
            {
                "id": pa.array(range(1, 201)),
                "country": rng.choice(CODES[:4], 200).tolist(),
                "age": pa.array(rng.integers(18, 90, 200), pa.int16()),
            }
        ),
        "country": pa.table(
            {
                "code": CODES,
                "region": [10, 10, 10, 20, 20, 10, 10, 10],
                "neighbour": ["FR", "IT", None, "DE", "DE", "FR", "DE", None],
                "governor": pa.array([5, 6, 7, 8, 9, 10, None, None], pa.int64()),
                "name": ["Germany", "France", "Italy", "Poland", "Austria", "Switzerland", "Denmark", "Belgium"],
                "founded": pa.array([-100 * i for i in range(8)], pa.int32()).cast(pa.date32()),
                "flag": pa.array([bytes([i]) for i in range(8)]),
            }
        ),
        "purchase": pa.table(
            {
                "id": pa.array(range(ORDERS)),
                "country": bought.tolist(),
                "paid": ["euro" if c in EURO else "other" for c in bought],
            }
        ),
    }


@pytest.fixture(scope="module")
def real() -> dict[str, pa.Table]:
    return tables()


@pytest.fixture(scope="module")
def model(real: dict[str, pa.Table]) -> Model:
    return learn(SCHEMA, real, CONFIG)


def generate(model: Model, real: dict[str, pa.Table], **rows: int) -> dict[str, pa.Table]:
    made = Generation(model, rows, 0, kept={name: real[name] for name in ("region", "country")}).run()
    return {name: pa.Table.from_batches(made.batches(name, 7)) for name in model.tables}


@pytest.fixture(scope="module")
def twin(model: Model, real: dict[str, pa.Table]) -> dict[str, pa.Table]:
    return generate(model, real)


def test_a_kept_table_is_delivered_as_it_is_in_all_columns(real, twin):
    assert twin["region"].equals(real["region"])
    for name in ("code", "region", "neighbour", "name", "founded", "flag"):
        assert twin["country"][name].to_pylist() == real["country"][name].to_pylist()


def test_a_key_of_a_kept_table_to_a_synthesised_one_is_null(twin):
    assert twin["country"]["governor"].null_count == len(CODES)


def test_children_find_their_rows_in_kept_tables(twin):
    assert set(twin["purchase"]["country"].to_pylist()) <= set(CODES)
    assert set(twin["person"]["country"].to_pylist()) <= set(CODES)
    assert twin["purchase"].num_rows == ORDERS


def test_hubs_stay_the_hubs_they_are(real, twin):
    def counts(tables: dict[str, pa.Table]) -> list[int]:
        return [tables["purchase"]["country"].to_pylist().count(code) for code in CODES]

    assert counts(twin) == counts(real)


def test_children_go_with_the_row_they_refer_to(twin):
    agree = [
        (paid == "euro") == (country in EURO)
        for country, paid in zip(*(twin["purchase"][c].to_pylist() for c in ("country", "paid")), strict=True)
    ]
    assert np.mean(agree) > 0.9


def test_more_children_than_in_the_source_are_shared_among_the_same_rows(model, real):
    made = generate(model, real, purchase=2 * ORDERS)
    assert made["purchase"].num_rows == 2 * ORDERS
    assert made["country"].num_rows == len(CODES)
    assert made["purchase"]["country"].to_pylist().count("BE") == 0


def test_no_row_of_a_kept_table_is_in_the_files_of_a_model(model, real, twin, tmp_path):
    workspace = Workspace(str(tmp_path))
    write_model(model, workspace)
    content = b"".join(workspace.read_bytes(entry.path) for entry in workspace.describe_folder(workspace.model))
    assert not any(name.encode() in content for name in real["country"]["name"].to_pylist())
    again = read_model(workspace)
    assert again.kept == model.kept
    assert generate(again, real) == twin


def test_nothing_is_said_of_formats_and_protections_in_kept_tables(model):
    assert set(model.protections()) == {"person", "purchase"}
    assert not {"region", "country"} & set(model.changes(dict.fromkeys(model.tables, 10**6)))


@pytest.mark.parametrize(
    ("kept", "fault"),
    [
        (
            lambda real: {"region": real["region"]},
            "kept.country: this table is delivered as it is, and a model holds no rows. Next step: pass it",
        ),
        (lambda real: {**real}, "kept.person: the model was not trained to keep such a table"),
        (lambda real: {"region": real["region"], "country": real["country"].slice(1)}, "kept.country: it must be as it was when"),
        (
            lambda real: {"region": real["region"].take(pa.array([1, 0])), "country": real["country"]},
            "kept.region: it must be as it was when the model was trained, its rows in the same order",
        ),
    ],
    ids=["missing", "not kept", "other rows", "another order"],
)
def test_the_tables_to_keep_must_be_those_of_the_training(model, real, kept, fault):
    with pytest.raises(ConfigurationError) as raised:
        Generation(model, {}, 0, kept=kept(real))
    assert any(found.startswith(fault) for found in raised.value.faults)


def test_rows_of_a_kept_table_cannot_be_asked_for(model, real):
    with pytest.raises(ConfigurationError, match=r"rows\.country: the table is kept, so its rows are the source's\. Found: 5\."):
        generate(model, real, country=5)


def test_a_digest_depends_on_values_and_their_order_and_not_on_chunks():
    table = pa.table({"a": [1, 2, None], "b": ["x", "", None]})
    assert digest(table) == digest(pa.concat_tables([table.slice(0, 1), table.slice(1)]))
    assert digest(table) != digest(table.take(pa.array([1, 0, 2])))
    assert digest(table) != digest(table.set_column(1, "b", pa.array(["x", None, ""])))


def test_an_empty_table_can_be_kept(real):
    config = CONFIG.model_copy(update={"keep": ("region",)})
    alone = Schema({"region": SCHEMA.tables["region"], "x": replace(SCHEMA.tables["region"], name="x")})
    model = learn(alone, {"region": real["region"].slice(0, 0), "x": real["region"]}, config)
    made = Generation(model, {}, 0, kept={"region": real["region"].slice(0, 0)}).run()
    assert pa.Table.from_batches(made.batches("region", 10)).num_rows == 0


def test_hubs_among_hundreds_of_kept_rows_stay_hubs():
    """Four hundred merchants by Zipf's law: the five largest have the largest degrees, in whatever order among them."""
    merchants, rng = np.arange(400), np.random.default_rng(0)
    share = 1 / (1 + rng.permutation(merchants))
    order = rng.choice(merchants, 4_000, p=share / share.sum())
    schema = Schema.of(
        [
            Table("merchant", (_key("id"),), ("id",)),
            Table("order", (_key("id"), _key("merchant")), ("id",), foreign_keys=(ForeignKey(("merchant",), "merchant", ("id",)),)),
        ]
    )
    tables = {"merchant": pa.table({"id": merchants}), "order": pa.table({"id": np.arange(4_000), "merchant": order})}
    config = Config.build({"training": {"size": "small", "max_epochs": 1, "device": "cpu"}, "keep": ["merchant"]})
    made = Generation(learn(schema, tables, config), {}, 0, kept={"merchant": tables["merchant"]}).run()
    found = pa.Table.from_batches(made.batches("order", 10**6))["merchant"].to_numpy()
    real, twin = (np.bincount(rows, minlength=400) for rows in (order, found))
    assert set(np.argsort(-real)[:5]) == set(np.argsort(-twin)[:5])
    assert np.corrcoef(real, twin)[0, 1] > 0.8
    assert np.ptp(twin[np.argsort(-real)[:5]]) <= 1  # their mean: whose is whose is not told


def test_lookup_tables_that_are_not_kept_are_named():
    """Country refers to region and to itself: it is none."""
    quickly = Config.build({"training": {"size": "small", "max_epochs": 1, "device": "cpu"}})
    assert learn(SCHEMA, tables(), quickly).lookups() == ["region"]
    assert learn(SCHEMA, tables(), quickly.model_copy(update={"keep": ("region", "country")})).lookups() == []
