"""`structure: original`: the twin's graph is the source's up to new names of the rows; everything else is drawn."""

from __future__ import annotations

import datetime
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.generation import Generation
from synth_engine.model.learning import learn
from synth_engine.model.skeleton import Skeleton
from synth_engine.model.state import Model
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace
from tests.model import shop
from tests.model.conftest import generate

CONFIG = Config.build({"training": {"size": "small", "max_epochs": 2, "device": "cpu"}, "structure": "original"})
Tables = dict[str, pa.Table]


@pytest.fixture(scope="module")
def model(real: Tables) -> Model:
    return learn(shop.SCHEMA, real, CONFIG)


@pytest.fixture(scope="module")
def twin(model: Model) -> Tables:
    return generate(model)


def shapes(schema: Schema, tables: Tables, rounds: int = 6) -> Counter[object]:
    """The rows, each told by its place in the graph alone: colours refined by those of parents and children (Weisfeiler and
    Leman). Isomorphic graphs have the same; others as good as never."""
    rows = [(name, i) for name, table in schema.tables.items() if table.primary_key for i in range(tables[name].num_rows)]
    colours: dict[object, object] = {row: row[0] for row in rows}
    edges = []
    for name, table in schema.tables.items():
        for key in table.foreign_keys:
            parents = list(zip(*(tables[key.parent][c].to_pylist() for c in key.parent_columns), strict=True))
            at = {values: i for i, values in enumerate(parents)}
            for i, values in enumerate(zip(*(tables[name][c].to_pylist() for c in key.columns), strict=True)):
                if None not in values:
                    edges.append((key.label(name), (name, i), (key.parent, at[values])))
    for _ in range(rounds):
        seen: dict[object, list[object]] = {row: [] for row in rows}
        for label, child, parent in edges:
            seen[child].append(("up", label, colours[parent]))
            seen[parent].append(("down", label, colours[child]))
        colours = {row: hash((colours[row], tuple(sorted(map(hash, seen[row]))))) for row in rows}
    return Counter(colours.values())


def test_the_graph_is_that_of_the_source(real, twin):
    assert shapes(shop.SCHEMA, twin) == shapes(shop.SCHEMA, real)


def test_a_drawn_graph_is_another_one(real):
    """What the test above is worth."""
    assert shapes(shop.SCHEMA, generate(learn(shop.SCHEMA, real, CONFIG.model_copy(update={"structure": "sampled"})))) != shapes(
        shop.SCHEMA, real
    )


def test_keys_are_null_as_often_as_in_the_source_and_never_orphaned(real, twin):
    for name, table in shop.SCHEMA.tables.items():
        assert twin[name].num_rows == real[name].num_rows
        for key in table.foreign_keys:
            (column,), (referred,) = key.columns, key.parent_columns
            assert twin[name][column].null_count == real[name][column].null_count
            assert set(twin[name][column].drop_null().to_pylist()) <= set(twin[key.parent][referred].to_pylist())
        for unique in (table.primary_key, *table.unique):
            rows = list(zip(*(twin[name][c].to_pylist() for c in unique), strict=True))
            assert len(set(rows)) == len(rows)


def test_keys_and_strings_are_new_and_times_still_agree(real, twin):
    for table, name in (("users", "email"), ("stores", "code"), ("items", "id")):
        assert not set(twin[table][name].to_pylist()) & set(real[table][name].to_pylist())
    joined = dict(zip(twin["users"]["id"].to_pylist(), twin["users"]["joined"].to_pylist(), strict=True))
    orders = zip(twin["orders"]["user_id"].to_pylist(), twin["orders"]["created"].to_pylist(), strict=True)
    assert all(joined[user] <= created.date() for user, created in orders)


def test_neither_the_order_of_rows_nor_that_of_keys_is_the_source_s(real, model, twin):
    """Degrees tell a row of the source from its neighbours: they must not stand in the same line."""

    def degrees(tables: Tables, by_key: bool) -> np.ndarray:
        counts = Counter(tables["items"]["order_id"].to_pylist())
        ids = tables["orders"]["id"].to_pylist()
        return np.array([counts[i] for i in (sorted(ids) if by_key else ids)])

    for by_key in (False, True):
        assert abs(np.corrcoef(degrees(real, by_key), degrees(twin, by_key))[0, 1]) < 0.15
    other = generate(model, seed=1)
    assert (degrees(other, False) != degrees(twin, False)).any()
    assert shapes(shop.SCHEMA, other) == shapes(shop.SCHEMA, twin)


@pytest.mark.parametrize("batch_rows", [1, 7])
def test_the_size_of_batches_changes_no_value(model, twin, batch_rows):
    assert generate(model, batch_rows=batch_rows) == twin


def test_a_model_read_from_its_files_generates_the_same(model, twin, tmp_path):
    workspace = Workspace(str(tmp_path))
    write_model(model, workspace)
    assert generate(read_model(workspace)) == twin


def test_rows_and_temperature_are_refused(model):
    with pytest.raises(ConfigurationError, match=r"rows\.users: with structure: original every table has the source's rows\. Found: 5\."):
        generate(model, {"users": 5})
    with pytest.raises(ConfigurationError, match=r"links\.temperature: with structure: original the links are the source's"):
        Generation(model, {}, 0, temperature=2.0)


def test_a_skeleton_read_from_parquet_is_the_same(tmp_path):
    rows = np.arange(3)
    for skeleton in (
        Skeleton([rows - 1, rows], np.ones((3, 12), np.int32) * np.arange(12, dtype=np.int32), {"a b": rows > 1}),
        Skeleton([], np.zeros((3, 0), np.int32), {}),
    ):
        pq.write_table(skeleton.to_arrow(), tmp_path / "one.parquet")
        again = Skeleton.from_arrow(pq.read_table(tmp_path / "one.parquet"), 3)
        assert [p.tolist() for p in again.parents] == [p.tolist() for p in skeleton.parents]
        assert np.array_equal(again.hidden, skeleton.hidden)
        assert {c: p.tolist() for c, p in again.present.items()} == {c: p.tolist() for c, p in skeleton.present.items()}


def test_sequences_stand_together_and_rows_without_an_owner_alone():
    starts, lengths = Skeleton([np.array([0, 0, 2, -1, -1])], np.zeros((5, 0), np.int32), {}).sequences(0)
    assert (starts.tolist(), lengths.tolist()) == ([0, 2, 3, 4], [2, 1, 1, 1])
    starts, lengths = Skeleton([np.zeros(0, np.int64)], np.zeros((0, 0), np.int32), {}).sequences(0)
    assert (len(starts), len(lengths)) == (0, 0)


# -- keys of several columns -----------------------------------------------------------------------------------------------


def _key(name: str, nullable: bool = False) -> Column:
    return Column(name, Kind.IDENTIFIER, "int64", nullable)


def tenants(declared: bool, first: str = "tenant") -> tuple[Schema, Tables]:
    """Teams and tasks of tenants, both keys of a task with the tenant in them; teams have leaders among themselves, the
    first of whom leads himself. The tenant is a key to its own table, or not. A task's columns begin with the `first`."""
    others = sorted(("tenant", "team", "site"), key=lambda name: name != first)
    tenant = (ForeignKey(("tenant",), "tenant", ("id",)),) if declared else ()
    schema = Schema.of(
        [
            *([Table("tenant", (_key("id"), Column("since", Kind.DATE, "date", False)), ("id",))] if declared else []),
            Table(
                "team",
                (_key("tenant"), _key("no"), _key("leader", nullable=True)),
                ("tenant", "no"),
                foreign_keys=(*tenant, ForeignKey(("tenant", "leader"), "team", ("tenant", "no"))),
            ),
            Table("site", (_key("tenant"), _key("no")), ("tenant", "no"), foreign_keys=tenant),
            Table(
                "task",
                (_key("id"), *(_key(name, nullable=True) for name in others)),
                ("id",),
                foreign_keys=(
                    ForeignKey(("tenant", "team"), "team", ("tenant", "no")),
                    ForeignKey(("tenant", "site"), "site", ("tenant", "no")),
                ),
            ),
        ]
    )
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(1, 6), 8)
    no = np.tile(np.arange(1, 9), 5)
    task = rng.integers(0, 40, 300)
    data = {
        "tenant": pa.table({"id": range(1, 6), "since": [datetime.date(2020, 1, i) for i in range(1, 6)]}),
        "team": pa.table(
            {
                "tenant": of,
                "no": no,
                "leader": pa.array([1 if n == 1 else None if n == 2 else int(rng.integers(1, n)) for n in no], pa.int64()),
            }
        ),
        "site": pa.table({"tenant": of, "no": no}),
        "task": pa.table(
            {
                "id": range(300),
                "tenant": pa.array([None if i % 50 == 0 else int(of[t]) for i, t in enumerate(task)], pa.int64()),
                "team": pa.array([None if i % 7 == 0 else int(no[t]) for i, t in enumerate(task)], pa.int64()),
                "site": pa.array([None if i % 5 == 0 else int(rng.integers(1, 9)) for i in range(300)], pa.int64()),
            }
        ),
    }
    return schema, {name: data[name] for name in schema.tables}


@pytest.mark.parametrize("first", ["tenant", "team", "site"])
def test_keys_that_share_a_column_and_rows_that_refer_to_themselves_link_as_in_the_source(first):
    schema, real = tenants(True, first)
    twin = generate(learn(schema, real, CONFIG))
    assert shapes(schema, twin) == shapes(schema, real)
    for name, columns in (("team", ["leader"]), ("task", ["tenant", "team", "site"])):
        patterns = [Counter(zip(*(t[name][c].is_null().to_pylist() for c in columns), strict=True)) for t in (real, twin)]
        assert patterns[0] == patterns[1]


def test_a_shared_column_that_no_table_stands_behind_is_refused_by_name():
    schema, real = tenants(declared=False)
    with pytest.raises(ConfigurationError) as raised:
        learn(schema, real, CONFIG)
    assert any("cannot keep task.tenant+site->site: rows other than its parents decide task.tenant" in f for f in raised.value.faults)
    assert "set structure: sampled, or give tenant a table of its own" in str(raised.value)


def test_keys_that_are_columns_of_values_are_at_hand_when_the_graph_is_learned():
    columns = (
        Column("id", Kind.IDENTIFIER, "int64", False),
        Column("code", Kind.TEXT, "string", False),
        Column("boss", Kind.TEXT, "string"),
    )
    people = Table("people", columns, ("id",), foreign_keys=(ForeignKey(("boss",), "people", ("code",)),))
    codes = [f"P{i:03d}" for i in range(60)]
    rows = pa.table({"id": range(60), "code": codes, "boss": [None, *codes[:-1]]})
    model = learn(Schema.of([people]), {"people": rows}, CONFIG)
    assert generate(model)["people"].num_rows == 60
