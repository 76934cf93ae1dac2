"""Orphans that are reproduced: as many as in the source, with values that are neither a parent's nor a real orphan's."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synth_engine.config import Config
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.generation import Generation
from synth_engine.model.learning import learn
from synth_engine.model.state import Model
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace

ROWS = 300
LOST_HOMES, LOST_BOSS, LOST_RIDERS = [f"C{i:03d}" for i in range(900, 905)], 9001, [7777, 7779]


def column(name: str, data_type: str = "int64", *, nullable: bool = True, kind: Kind = Kind.IDENTIFIER) -> Column:
    return Column(name, kind, data_type, nullable)


SCHEMA = Schema.of(
    [
        Table("city", (column("code", "string", nullable=False), column("size", kind=Kind.INTEGER)), ("code",)),
        Table(
            "person",
            (column("id", nullable=False), column("boss"), column("home", "string"), column("age", kind=Kind.INTEGER)),
            ("id",),
            foreign_keys=(ForeignKey(("boss",), "person", ("id",)), ForeignKey(("home",), "city", ("code",))),
        ),
        Table(
            "trip",
            (column("rider", nullable=False), column("n", nullable=False, kind=Kind.INTEGER), column("km", kind=Kind.INTEGER)),
            ("rider", "n"),
            foreign_keys=(ForeignKey(("rider",), "person", ("id",)),),
        ),
    ]
)


def real(seed: int) -> dict[str, pa.Table]:
    """The young have lost homes; a key to the own table, one in a primary key, one that may be null."""
    draw = np.random.default_rng(seed)
    codes = np.array([f"C{i:03d}" for i in draw.permutation(500)[:40]])
    ids, ages = 2 * np.arange(1, ROWS + 1), draw.integers(10, 80, ROWS)
    homes = np.where(draw.random(ROWS) < 0.1, None, draw.choice(codes, ROWS))
    homes = np.where(ages < 25, draw.choice(LOST_HOMES, ROWS), homes)
    boss = [None if i == 0 else LOST_BOSS if lost else int(ids[draw.integers(i)]) for i, lost in enumerate(draw.random(ROWS) < 0.05)]
    riders = np.r_[np.repeat(LOST_RIDERS, 10), draw.choice(ids, 480)]
    number = pd.Series(riders).groupby(riders).cumcount() + 1
    return {
        "city": pa.table({"code": codes.tolist(), "size": draw.integers(1, 100, 40)}),
        "person": pa.table({"id": ids, "boss": pa.array(boss, pa.int64()), "home": homes.tolist(), "age": ages}),
        "trip": pa.table({"rider": riders, "n": number.to_numpy(), "km": draw.integers(1, 9, 500)}),
    }


def lost(tables: dict[str, pd.DataFrame]) -> dict[str, pd.Series]:
    """By key the values that no parent has."""
    found = {}
    for name, table in SCHEMA.tables.items():
        for key in table.foreign_keys:
            values = tables[name][key.columns[0]].dropna()
            found[key.label(name)] = values[~values.isin(set(tables[key.parent][key.parent_columns[0]]))]
    return found


def frames(tables: dict[str, pa.Table]) -> dict[str, pd.DataFrame]:
    return {name: table.to_pandas() for name, table in tables.items()}


@cache
def model(seed: int, structure: str = "sampled", epochs: int = 1) -> Model:
    tables = real(seed)
    shares = {key: len(values) / len(tables[key.partition(".")[0]]) for key, values in lost(frames(tables)).items()}
    settings = {"training": {"size": "small", "max_epochs": epochs, "device": "cpu"}, "structure": structure, "seed": seed}
    return learn(SCHEMA.with_orphans(shares), tables, Config.build(settings))


def twin(learned: Model, seed: int, rows: dict[str, int] | None = None, **settings: Any) -> dict[str, pd.DataFrame]:
    made = Generation(learned, rows or {}, seed, **settings).run()
    return frames({name: pa.Table.from_batches(list(made.batches(name, 1000))) for name in learned.tables})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rows", [{}, {"person": 900}, {"person": 40, "trip": 700}])
def test_there_are_as_many_orphans_as_in_the_source_and_none_is_real(seed: int, rows: dict[str, int]) -> None:
    source, made = frames(real(seed)), twin(model(seed), seed + 10, rows)
    for key, values in lost(made).items():
        table, column = key.partition("->")[0].split(".")
        share = len(lost(source)[key]) / len(source[table])
        assert abs(len(values) - share * len(made[table])) <= 1
        assert not set(values) & {*LOST_HOMES, LOST_BOSS, *LOST_RIDERS}
        assert abs(made[table][column].isna().sum() - source[table][column].isna().mean() * len(made[table])) <= 2
    assert not made["trip"].duplicated(["rider", "n"]).any()


def test_the_values_look_like_the_key_s_and_are_shared_as_in_the_source() -> None:
    found = lost(twin(model(0), 3))
    assert found["person.home->city"].str.fullmatch(r"C\d\d\d").all()
    assert found["person.home->city"].nunique() == 5
    assert found["person.boss->person"].nunique() == 1 and (found["person.boss->person"] % 2 == 0).all()


def test_which_rows_are_orphans_goes_with_their_other_columns() -> None:
    made = twin(model(1, epochs=60), 1)
    home = lost(made)["person.home->city"]
    assert made["person"].loc[home.index, "age"].mean() < made["person"]["age"].mean() - 10


def test_the_source_s_graph_is_kept_orphans_included() -> None:
    source, made = frames(real(2)), twin(model(2, "original"), 1)
    assert {key: len(values) for key, values in lost(made).items()} == {key: len(values) for key, values in lost(source).items()}


def test_keys_that_start_at_a_number_have_orphans_beyond_them() -> None:
    found = lost(twin(model(0), 1, key_start={"person": 10**6}))
    assert (found["trip.rider->person"] >= 10**6).all() and (found["person.boss->person"] >= 10**6).all()


def test_a_model_that_is_read_again_makes_the_same_orphans(tmp_path: Any) -> None:
    workspace = Workspace(str(tmp_path / "work"))
    write_model(model(0), workspace)
    again = twin(read_model(workspace), 4)
    assert all(again[name].equals(frame) for name, frame in twin(model(0), 4).items())
