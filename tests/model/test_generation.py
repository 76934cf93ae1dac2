"""Learning a small shop and generating it: keys join by construction, counts are exact, the same seed gives the same tables."""

from __future__ import annotations

import builtins
import pickle
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError, CorruptArtefact, Terminal
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.generation import Generation
from synth_engine.model.learning import learn
from synth_engine.model.state import Model
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.schema.types import to_arrow
from synth_engine.workspace import Workspace
from tests.model import shop
from tests.model.conftest import CONFIG, generate

KEYS = [(name, key) for name, table in shop.SCHEMA.tables.items() for key in table.foreign_keys]
Tables = dict[str, pa.Table]


def column(tables: Tables, table: str, name: str) -> list[object]:
    return tables[table][name].to_pylist()


def assert_keys_hold(tables: Tables) -> None:
    """Every key refers to a row that is there, and everything unique is."""
    for name, table in shop.SCHEMA.tables.items():
        for key in table.foreign_keys:
            values = tables[name][key.columns[0]].drop_null()
            assert pc.all(pc.is_in(values, value_set=tables[key.parent][key.parent_columns[0]].combine_chunks())).as_py() is not False
        for unique in (table.primary_key, *table.unique):
            rows = list(zip(*(column(tables, name, c) for c in unique), strict=True))
            assert len(set(rows)) == len(rows)
        for c in table.columns:
            assert c.nullable or tables[name][c.name].null_count == 0, f"{name}.{c.name}"


def test_the_twin_has_the_columns_types_and_row_counts_of_the_source(real, twin):
    for name, table in shop.SCHEMA.tables.items():
        assert twin[name].schema.names == list(table.column_names)
        assert twin[name].schema.types == [to_arrow(c.data_type) for c in table.columns]
        assert twin[name].num_rows == real[name].num_rows


def test_no_key_is_orphaned_nothing_unique_repeats_and_nothing_required_is_null(twin):
    assert_keys_hold(twin)


@pytest.mark.parametrize(("child", "key"), KEYS, ids=[k.label(n) for n, k in KEYS])
def test_parents_have_as_many_children_as_in_the_source(real, twin, child, key):
    real_counts, twin_counts = (
        sorted(
            [
                *(count := np.unique(t[child][key.columns[0]].drop_null().to_numpy(), return_counts=True)[1]),
                *[0] * (t[key.parent].num_rows - len(count)),
            ]
        )
        for t in (real, twin)
    )
    assert sum(twin_counts) == sum(real_counts)
    assert np.abs(np.array(twin_counts) - np.array(real_counts)).mean() < 0.35


def test_nobody_is_his_own_ancestor(twin):
    parent = dict(zip(column(twin, "users", "id"), column(twin, "users", "invited_by"), strict=True))
    for user in parent:
        seen = set()
        while user is not None:
            assert user not in seen
            seen.add(user)
            user = parent[user]


def test_what_never_came_before_in_the_source_never_does_in_the_twin(twin):
    joined = dict(zip(column(twin, "users", "id"), column(twin, "users", "joined"), strict=True))
    orders = zip(column(twin, "orders", "user_id"), column(twin, "orders", "created"), strict=True)
    assert all(created.date() >= joined[user] for user, created in orders)


def test_rows_in_the_order_of_time_refer_to_parents_in_the_order_of_time():
    rng = np.random.default_rng(0)
    columns = {"id": Column("id", Kind.IDENTIFIER, "int64", False), "at": Column("at", Kind.TIMESTAMP, "timestamp", False)}
    hosts = Table("hosts", (columns["id"],), ("id",))
    slots = Table("slots", (columns["id"], columns["at"]), ("id",))
    visits = Table(
        "visits",
        (_key("host"), _key("slot"), Column("day", Kind.DATE, "date", False), Column("mood", Kind.CATEGORY, "int32", False)),
        foreign_keys=(ForeignKey(("host",), "hosts", ("id",)), ForeignKey(("slot",), "slots", ("id",))),
    )
    hour, host, slot = np.arange(200) * 30, np.repeat(np.arange(80), 8), rng.integers(0, 200, 640)
    tables = {
        "hosts": pa.table({"id": pa.array(np.arange(80))}),
        "slots": pa.table({"id": pa.array(np.arange(200)), "at": pa.array(hour * 3_600_000_000).cast(pa.timestamp("us"))}),
        "visits": pa.table(
            {
                "host": pa.array(host),
                "slot": pa.array(slot),
                "day": pa.array((hour[slot] // 24).astype(np.int32)).cast(pa.date32()),
                "mood": pa.array(host % 5, pa.int32()),
            }
        ),
    }
    model = learn(Schema.of([hosts, slots, visits]), tables, CONFIG)
    visits_model = model.tables["visits"]
    assert visits_model.keys[visits_model.owner].key.parent == "hosts"
    twin = generate(model)
    at = dict(zip(column(twin, "slots", "id"), column(twin, "slots", "at"), strict=True))
    told = zip(column(twin, "visits", "slot"), column(twin, "visits", "day"), strict=True)
    assert all(at[slot].date() == day for slot, day in told)


def _key(name: str) -> Column:
    return Column(name, Kind.IDENTIFIER, "int64", False)


def test_no_real_string_is_written_and_formats_stay(real, twin):
    for table, name in (("users", "email"), ("stores", "code"), ("items", "id")):
        assert not set(column(twin, table, name)) & set(column(real, table, name))
    assert pc.all(pc.match_substring_regex(twin["users"]["email"], r"^user\d{5}@example\.org$")).as_py()


def test_columns_of_kinds_that_are_not_modelled_are_null(twin):
    assert twin["users"]["settings"].null_count == shop.USERS


def test_keys_that_rise_with_time_still_do(model, twin):
    assert model.tables["users"].keys_follow == "joined"
    order = np.argsort(column(twin, "users", "id"))
    joined = np.array(column(twin, "users", "joined"))[order]
    assert (joined[1:] >= joined[:-1]).all()


@pytest.mark.parametrize("days", [2, 3, 40])
def test_keys_follow_a_moment_that_many_rows_share(days):
    columns = (Column("id", Kind.IDENTIFIER, "int64", False), Column("day", Kind.DATE, "date", False))
    when = pa.array(np.sort(np.arange(400) % days), pa.int32()).cast(pa.date32())
    schema = Schema.of([Table("events", columns, ("id",))])
    quick = Config.build({"training": {"size": "small", "max_epochs": 1}})
    model = learn(schema, {"events": pa.table({"id": range(400), "day": when})}, quick)
    assert model.tables["events"].keys_follow == "day"


# -- requested rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        {"users": 30},
        {"users": 700},
        {"orders": 5},
        {"users": 1, "favourites": 3, "cards": 1},
        {"users": 0},
        dict.fromkeys(shop.SCHEMA.tables, 0),
        {"stores": 1, "favourites": 90},
    ],
    ids=["fewer", "more", "few children", "one", "none", "no rows at all", "one store"],
)
def test_requested_rows_are_honoured(model, rows):
    made = generate(model, rows)
    assert {name: made[name].num_rows for name in rows} == rows
    assert_keys_hold(made)


def test_children_grow_with_their_owners(model):
    made = generate(model, {"users": 600})
    assert (made["orders"].num_rows, made["items"].num_rows, made["stores"].num_rows) == (1800, 3000, shop.STORES)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"cards": 301}, r"rows\.cards: key cards\.user_id->users is unique.*301 rows of cards, .*at most 300 are possible"),
        ({"users": 0, "orders": 5}, r"rows\.orders: key orders\.user_id->users needs a parent"),
        (
            {"users": 2, "stores": 2, "favourites": 5},
            r"rows\.favourites: key favourites\(user_id, store_code\) is unique.*at most 4 are",
        ),
    ],
    ids=["unique key", "no parents", "too many pairs"],
)
def test_rows_that_keys_cannot_bear_are_refused_by_name(model, rows, message):
    with pytest.raises(Terminal, match=message):
        generate(model, rows)


def test_all_unknown_tables_are_named_at_once(model):
    with pytest.raises(ConfigurationError) as raised:
        generate(model, {"nobody": 1, "users": 5, "nothing": 2})
    assert len(raised.value.faults) == 2


def test_columns_without_a_null_in_the_source_get_none_however_many_rows_are_drawn(model):
    made = generate(model, {"users": 8000, "orders": 8000, "items": 10, "cards": 10, "favourites": 10})
    assert_keys_hold(made)


# -- the same again --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_rows", [1, 7])
def test_the_size_of_batches_changes_no_value(model, twin, batch_rows):
    assert generate(model, batch_rows=batch_rows) == twin


def test_another_seed_gives_other_rows(model, twin):
    other = generate(model, seed=1)
    assert all(other[name] != twin[name] for name in twin if name != "favourites")


def test_learning_the_same_again_gives_the_same_tables(real, twin):
    assert generate(learn(shop.SCHEMA, real, CONFIG)) == twin


@pytest.fixture
def written(model: Model, tmp_path) -> Workspace:
    workspace = Workspace(str(tmp_path))
    write_model(model, workspace)
    return workspace


def test_a_model_read_from_its_files_generates_the_same(model, written, twin):
    again = read_model(written)
    assert generate(again) == twin
    assert all((again.held_out[name] == model.held_out[name]).all() for name in model.tables)


def test_reading_a_model_never_unpickles(written, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model must be read without pickle")

    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, refuse)
    assert read_model(written).tables


def test_a_network_file_that_carries_code_is_refused_and_not_run(written):
    import torch

    class Harmful:
        def __reduce__(self):
            return exec, ("import builtins; builtins.harm_was_done = True",)

    path = next(p for p in sorted(p.path for p in written.describe_folder(written.model)) if p.endswith("-rows.pt"))
    with written.open(path, "wb") as out:
        torch.save({"embed.weight": Harmful()}, out)
    with pytest.raises(pickle.UnpicklingError):
        read_model(written)
    assert not hasattr(builtins, "harm_was_done")


def test_a_model_of_another_format_is_refused(written):
    content = written.read_json(f"{written.model}/model.json")
    written.write_json(f"{written.model}/model.json", {**content, "format": 99})
    with pytest.raises(CorruptArtefact, match="format 99"):
        read_model(written)


def test_no_real_string_can_be_found_in_the_files_of_a_model(real, written):
    content = b"".join(written.read_bytes(entry.path) for entry in written.describe_folder(written.model))
    for table, name in (("users", "email"), ("items", "id"), ("stores", "code")):
        assert not any(str(value).encode() in content for value in column(real, table, name))


def test_a_schema_of_empty_tables_is_learned_and_generated_empty():
    empty = {name: table.slice(0, 0) for name, table in shop.tables().items()}
    model = learn(shop.SCHEMA, empty, CONFIG)
    assert {t.num_rows for t in generate(model).values()} == {0}


def test_tables_of_one_row_are_learned_and_generated():
    real = shop.tables()
    single = {name: table.slice(0, 1) for name, table in real.items()}
    for name, key in KEYS:
        parent = single[key.parent][key.parent_columns[0]].to_pylist()[0]
        at = single[name].schema.get_field_index(key.columns[0])
        value = None if key.parent == name else parent
        single[name] = single[name].set_column(at, key.columns[0], pa.array([value], single[name].schema.field(at).type))
    made = generate(learn(shop.SCHEMA, single, CONFIG))
    assert {t.num_rows for t in made.values()} == {1}


def test_memory_that_runs_out_is_told_as_advice(model, monkeypatch):
    def run_out(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Generation, "_table", run_out)
    with pytest.raises(Terminal, match=r"must fit in memory while they are generated\. Found: .* rows of .*ask for fewer rows"):
        Generation(model, {}, 0).run()


def formatted(**columns: dict[str, object]) -> Model:
    """Countries and what belongs to them, with formats that the settings give."""
    country = Table("country", (Column("code", Kind.IDENTIFIER, "string(2)", False),), ("code",))
    account = Table(
        "account",
        (
            Column("id", Kind.IDENTIFIER, "int64", False),
            Column("country", Kind.IDENTIFIER, "string(2)", False),
            Column("number", Kind.TEXT, "string"),
        ),
        ("id",),
        unique=(("number",),),
        foreign_keys=(ForeignKey(("country",), "country", ("code",)),),
    )
    codes = ["AT", "BE", "DE", "FR", "IT", "PL"]
    data = {
        "country": pa.table({"code": codes}),
        "account": pa.table(
            {
                "id": pa.array(range(1, 301), pa.int64()),
                "country": [codes[i % 6] for i in range(300)],
                "number": [f"{codes[i % 6]}/{i * 7:05d}" for i in range(300)],
            }
        ),
    }
    settings = {"training": {"size": "small", "max_epochs": 1, "device": "cpu"}, "columns": columns}
    return learn(Schema.of([country, account]), data, Config.build(settings))


def test_kept_values_are_the_real_ones_everywhere_and_the_model_says_so():
    model = formatted(country={"code": {"keep_values": True}})
    twin = generate(model)
    assert sorted(column(twin, "country", "code")) == ["AT", "BE", "DE", "FR", "IT", "PL"]
    assert set(column(twin, "account", "country")) == {"AT", "BE", "DE", "FR", "IT", "PL"}
    assert model.protections()["country"]["code"] == ["values kept as they are, by settings"]
    with pytest.raises(
        ConfigurationError, match=r"country\.code: its values are kept, .* Found: 7 rows, 6 values .* ask for at most 6 rows"
    ):
        generate(model, {"country": 7})


def test_a_given_pattern_is_kept_by_a_unique_column_and_refused_where_it_has_no_room(tmp_path):
    model = formatted(account={"number": {"pattern": "[A-F][0-9]{3}"}})
    write_model(model, Workspace(str(tmp_path)))
    for known in (model, read_model(Workspace(str(tmp_path)))):
        numbers = column(generate(known, {"account": 2000}), "account", "number")
        assert all(re.fullmatch("[A-F][0-9]{3}", number) for number in numbers)
        assert len(set(numbers)) == 2000
    with pytest.raises(ConfigurationError, match=r"account\.number: its pattern must have room .* let the pattern spell more strings"):
        generate(model, {"account": 7000})
    with pytest.raises(ConfigurationError, match=r"account\.number: its pattern must have room"):
        formatted(account={"number": {"pattern": "[A-F][0-9]"}})


def test_two_runs_whose_keys_start_one_after_the_other_share_none():
    model = formatted()
    for seed, start in ((0, 1000), (1, 1300)):
        made = Generation(model, {}, seed, key_start={"account": start}).run()
        assert pa.Table.from_batches(made.batches("account", 100))["id"].to_pylist() == list(range(start, start + 300))


def test_a_key_that_does_not_count_cannot_start_at_a_number():
    with pytest.raises(ConfigurationError, match=r"key_start\.country: only a key of whole numbers") as raised:
        Generation(formatted(), {}, 0, key_start={"country": 5, "nothing": 1, "account": 2.5})
    assert len(raised.value.faults) == 3


def test_a_part_of_a_key_that_has_a_pattern_keeps_it_and_is_refused_before_it_breaks_it():
    columns = (Column("upstairs", Kind.BOOLEAN, "boolean", False), Column("seat", Kind.TEXT, "string", False))
    seats = {"upstairs": [True, False] * 15, "seat": [f"{row}{i}" for row in "XYZ" for i in range(10)]}
    settings = {"training": {"size": "small", "max_epochs": 1, "device": "cpu"}, "columns": {"seat": {"seat": {"pattern": "[A-C][0-9]"}}}}
    model = learn(Schema.of([Table("seat", columns, ("upstairs", "seat"))]), {"seat": pa.table(seats)}, Config.build(settings))
    assert all(re.fullmatch("[A-C][0-9]", seat) for seat in column(generate(model, {"seat": 30}), "seat", "seat"))
    with pytest.raises(Terminal, match=r"seat\(upstairs, seat\) must be unique.*agree in seat, room for 2 values of upstairs"):
        generate(model, {"seat": 100})


# -- temperature -----------------------------------------------------------------------------------------------------------


def test_temperature_moves_children_among_parents_and_nothing_else(model, twin):
    def busiest(temperature: float) -> int:
        made = Generation(model, {}, 0, temperature=temperature).run()
        tables = {name: pa.Table.from_batches(made.batches(name, 10**6)) for name in model.tables}
        assert_keys_hold(tables)
        assert {name: t.num_rows for name, t in tables.items()} == {name: t.num_rows for name, t in twin.items()}
        return int(np.unique(tables["orders"]["user_id"].to_numpy(), return_counts=True)[1].max())

    assert busiest(0.5) > busiest(1) > busiest(3)


def test_a_temperature_of_one_is_the_twin_as_it_was(model, twin):
    made = Generation(model, {}, 0, temperature=1.0).run()
    assert all(pa.Table.from_batches(made.batches(name, 10**6)) == twin[name] for name in twin)
