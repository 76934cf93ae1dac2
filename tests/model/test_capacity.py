"""Rows that the keys leave no room for are refused before anything is drawn: by table, key and both numbers."""

from __future__ import annotations

import pyarrow as pa
import pytest

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError
from synth_engine.model.generation import Generation
from synth_engine.model.learning import learn
from synth_engine.model.state import Model
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from tests.model.conftest import generate


def table(name: str, primary: str, keys: dict[str, str], unique: str = "", nullable: str = "") -> Table:
    """Columns of whole numbers; `keys` map a column to the table it refers to."""
    columns = dict.fromkeys([*primary.split(), *keys, *unique.split()])
    return Table(
        name,
        tuple(Column(c, Kind.IDENTIFIER, "int64", c in nullable.split()) for c in columns),
        tuple(primary.split()),
        (tuple(unique.split()),) if unique else (),
        tuple(ForeignKey((c,), parent, ("id",)) for c, parent in keys.items()),
    )


@pytest.fixture(scope="module")
def model() -> Model:
    """Ten users, of whom eight have a profile, every second a badge; six groups they are members of."""
    schema = Schema.of(
        [
            table("users", "id", {}),
            table("groups", "id", {}),
            table("profiles", "id", {"id": "users"}),
            table("badges", "id", {"owner": "users"}, unique="owner", nullable="owner"),
            table("members", "user group", {"user": "users", "group": "groups"}),
        ]
    )
    real = {
        "users": pa.table({"id": list(range(1, 11))}),
        "groups": pa.table({"id": list(range(1, 7))}),
        "profiles": pa.table({"id": list(range(1, 9))}),
        "badges": pa.table({"id": list(range(1, 11)), "owner": [i if i % 2 else None for i in range(1, 11)]}),
        "members": pa.table({"user": [1 + i % 10 for i in range(30)], "group": [1 + i // 10 for i in range(30)]}),
    }
    return learn(schema, real, Config.build({"training": {"size": "small", "max_epochs": 1, "device": "cpu"}}))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"profiles": 11}, r"rows\.profiles: key profiles\.id->users is unique, .*11 rows of profiles, .*at most 10 are possible"),
        ({"badges": 22}, r"rows\.badges: key badges\.owner->users is unique.*22 rows .* for 10 rows of users; at most 21 are possible"),
        (
            {"members": 61},
            r"rows\.members: key members\(user, group\) is unique.*for 10 rows of users by 6 rows of groups; at most 60",
        ),
        ({"groups": 0, "members": 5}, r"rows\.members: key members\.group->groups needs a parent.*at most 0 .*or for 5 rows of groups"),
    ],
)
def test_more_rows_than_a_key_has_room_for_are_refused_before_anything_is_drawn(model, rows, message):
    with pytest.raises(ConfigurationError, match=message):
        Generation(model, rows, 0)


def test_all_that_cannot_be_met_is_told_at_once(model):
    with pytest.raises(ConfigurationError) as raised:
        Generation(model, {"users": 4, "profiles": 5, "badges": 8, "members": 25}, 0)
    assert [fault.split(":")[0] for fault in raised.value.faults] == ["rows.profiles", "rows.members"]


@pytest.mark.parametrize("rows", [{"profiles": 10}, {"badges": 20}, {"members": 60}, {"users": 0}, {"groups": 0, "members": 0}])
def test_all_that_can_be_met_is_met_exactly(model, rows):
    made = generate(model, rows)
    assert {name: made[name].num_rows for name in rows} == rows
    if rows.get("users") != 0:
        pairs = list(zip(made["members"]["user"].to_pylist(), made["members"]["group"].to_pylist(), strict=True))
        assert len(set(pairs)) == len(pairs)
