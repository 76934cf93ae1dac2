"""The engine from Python: five lines on DataFrames or Arrow tables, and a model that saves, loads and cannot be tampered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from synth_engine import Kind, SynthModel, generate, infer_schema, train
from synth_engine.errors import ConfigurationError, CorruptArtefact, SourceDataError, Terminal
from tests.small_shop import CANARY_EMAIL, CANARY_TOWN, LOOSE_KEYS, customers, purchases

SETTINGS: dict[str, Any] = {"training": {"size": "small", "max_epochs": 2, "device": "cpu"}}


def frames() -> dict[str, pd.DataFrame]:
    customer = pd.DataFrame(customers(), columns=["id", "email", "town", "born"])
    purchase = pd.DataFrame(purchases(), columns=["id", "customer", "payer", "price", "placed", "paid"])
    return {
        "customer": customer.assign(born=pd.to_datetime(customer["born"])),
        "purchase": purchase.assign(placed=pd.to_datetime(purchase["placed"])),
    }


@pytest.fixture(scope="module")
def schema_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "schema.yaml"
    path.write_text(LOOSE_KEYS)
    return path


@pytest.fixture(scope="module")
def model(schema_file: Path) -> SynthModel:
    return train(frames(), schema_file, seed=3, settings=SETTINGS)


@pytest.fixture
def saved(model: SynthModel, tmp_path: Path) -> Path:
    model.save(str(tmp_path / "model"))
    return tmp_path / "model"


def test_five_lines_make_a_twin_of_data_frames(schema_file: Path) -> None:
    from synth_engine import train

    model = train(frames(), schema_file, settings=SETTINGS)
    twin = model.generate(rows={"customer": 60}, seed=1)
    joined = twin["purchase"].to_pandas().merge(twin["customer"].to_pandas(), left_on="customer", right_on="id")
    assert len(twin["customer"]) == 60
    assert len(joined) == len(twin["purchase"]) == 160


def test_columns_types_and_keys_are_those_of_the_data(model: SynthModel) -> None:
    twin = model.generate()
    for name, frame in frames().items():
        assert twin[name].column_names == list(frame.columns)
        assert twin[name].num_rows == len(frame)
    assert twin["customer"].schema.field("born").type == pa.timestamp("us")
    assert twin["purchase"].schema.field("paid").type == pa.bool_()
    known = set(twin["customer"]["id"].to_pylist())
    assert len(known) == 150
    assert set(twin["purchase"]["customer"].to_pylist()) <= known
    payers = twin["purchase"]["payer"]
    assert 0 < payers.null_count < 400
    assert {int(p) for p in payers.drop_null().to_pylist()} <= known


def test_the_same_seed_gives_the_same_tables(model: SynthModel) -> None:
    assert generate(model, seed=1) == model.generate(seed=1)
    assert model.generate(seed=1) != model.generate(seed=2)


def test_arrow_tables_serve_as_well_as_data_frames(model: SynthModel, schema_file: Path) -> None:
    arrow = {name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in frames().items()}
    again = train(arrow, schema_file, seed=3, settings=SETTINGS)
    assert again.schema == model.schema
    assert again.generate(seed=1) == model.generate(seed=1)


def test_no_rows_can_be_asked_for(model: SynthModel) -> None:
    assert {name: table.num_rows for name, table in model.generate({"customer": 0, "purchase": 0}).items()} == {
        "customer": 0,
        "purchase": 0,
    }


def test_tables_that_are_none_are_named_all_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"tables: must be given by name\. Found: list\. Next step: pass {name: table"):
        train([frames()["customer"]])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as caught:
        infer_schema({"customer": frames()["customer"], "purchase": [1, 2], "refund": None})  # type: ignore[dict-item]
    assert [fault.partition(" Next")[0] for fault in caught.value.faults] == [
        "tables.purchase: must be a pandas DataFrame or an Arrow table. Found: list.",
        "tables.refund: must be a pandas DataFrame or an Arrow table. Found: NoneType.",
    ]


def test_the_schema_is_inferred_from_the_data_and_the_file(schema_file: Path) -> None:
    schema = infer_schema(frames(), schema_file)
    assert {c.name: c.kind for c in schema.tables["customer"].columns} == {
        "id": Kind.IDENTIFIER,
        "email": Kind.TEXT,
        "town": Kind.CATEGORY,
        "born": Kind.TIMESTAMP,
    }
    assert [k.label("purchase") for k in schema.tables["purchase"].foreign_keys] == [
        "purchase.customer->customer",
        "purchase.payer->customer",
    ]
    assert infer_schema(frames()).tables["purchase"].foreign_keys == ()


def test_keys_are_inferred_from_the_data_if_that_is_asked_for() -> None:
    schema = infer_schema(frames(), infer_keys=True)
    assert schema.tables["customer"].primary_key == ("id",)
    assert [k.label("purchase") for k in schema.tables["purchase"].foreign_keys] == ["purchase.customer->customer"]
    with pytest.raises(ConfigurationError, match="a Schema is taken as it is"):
        train(frames(), schema, settings={**SETTINGS, "infer_keys": True})


def test_a_schema_can_be_passed_instead_of_a_file(schema_file: Path) -> None:
    schema = infer_schema({"customer": frames()["customer"]})
    model = train(frames(), schema, settings=SETTINGS)
    assert list(model.generate()) == ["customer"]


def test_a_kept_table_is_passed_again_and_comes_back_as_it_is(schema_file: Path, tmp_path: Path) -> None:
    model = train(frames(), schema_file, settings={**SETTINGS, "keep": ["customer"]})
    model.save(str(tmp_path / "model"))
    loaded = SynthModel.load(str(tmp_path / "model"))
    twin = loaded.generate(kept={"customer": frames()["customer"]})
    assert twin["customer"].to_pandas()["email"].tolist() == frames()["customer"]["email"].tolist()
    assert set(twin["purchase"]["customer"].to_pylist()) <= set(frames()["customer"]["id"])
    assert twin == generate(model, kept={"customer": frames()["customer"]})
    for path in (tmp_path / "model").rglob("*.*"):
        assert CANARY_EMAIL.encode() not in path.read_bytes(), path


def test_what_is_wrong_with_the_tables_to_keep_is_told(schema_file: Path) -> None:
    model = train(frames(), schema_file, settings={**SETTINGS, "keep": ["customer"]})
    with pytest.raises(ConfigurationError, match=r"kept\.customer: this table is delivered as it is.* Next step: pass it"):
        model.generate()
    with pytest.raises(ConfigurationError, match=r"kept\.customer\.town: the schema has this column, the data does not"):
        model.generate(kept={"customer": frames()["customer"].drop(columns="town")})
    with pytest.raises(ConfigurationError, match=r"kept\.customer: it must be as it was when the model was trained"):
        model.generate(kept={"customer": frames()["customer"].assign(town="Ulm")})
    with pytest.raises(ConfigurationError, match=r"kept\.purchase: the model was not trained to keep such a table"):
        model.generate(kept=frames())
    with pytest.raises(ConfigurationError, match=r"kept: must be given by name\. Found: list"):
        model.generate(kept=[frames()["customer"]])  # type: ignore[arg-type]


def test_a_temperature_is_passed_to_generate(model: SynthModel, schema_file: Path) -> None:
    def busiest(temperature: float) -> int:
        return int(model.generate(temperature=temperature)["purchase"].to_pandas()["customer"].value_counts().max())

    assert busiest(0.3) > busiest(1) > busiest(5)
    assert generate(model, temperature=0.3) == model.generate(temperature=0.3)
    with pytest.raises(ConfigurationError, match=r"links\.temperature: Input should be greater than 0"):
        model.generate(temperature=0)
    with pytest.raises(ConfigurationError, match=r"settings\.links: it has no meaning here\. Next step: pass temperature to generate"):
        train(frames(), schema_file, settings={**SETTINGS, "links": {"temperature": 2}})


# -- saving and loading ------------------------------------------------------------------------------------------------


def test_a_saved_model_loads_and_generates_the_same(model: SynthModel, saved: Path) -> None:
    loaded = SynthModel.load(str(saved))
    assert loaded.schema == model.schema
    assert loaded.entities == model.entities == ["customer: each row is an entity, with its rows of purchase"]
    assert loaded.generate(seed=5) == model.generate(seed=5)


def test_a_model_travels_through_an_object_store(model: SynthModel) -> None:
    model.save("memory://models/shop")
    assert SynthModel.load("memory://models/shop").generate(seed=5) == model.generate(seed=5)


def test_a_saved_model_holds_no_value_that_only_one_row_has(saved: Path) -> None:
    for path in saved.rglob("*"):
        if path.is_file():
            assert CANARY_EMAIL.encode() not in path.read_bytes(), path
            assert CANARY_TOWN.encode() not in path.read_bytes(), path


def test_every_file_of_a_saved_model_is_guarded_by_its_hash(saved: Path) -> None:
    files = [path for path in sorted((saved / "real" / "model").rglob("*")) if path.is_file()]
    assert len(files) >= 4
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(CorruptArtefact, match=f"{path.name} has another sha256 than its manifest.*restore the file"):
            SynthModel.load(str(saved))
        path.write_bytes(whole)
    SynthModel.load(str(saved))


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="no manifest of it in"):
        SynthModel.load(str(tmp_path))


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_tables_and_columns_of_the_schema_that_the_data_lacks_are_told_at_once(schema_file: Path) -> None:
    schema = infer_schema(frames(), schema_file)
    data = {"customer": frames()["customer"].drop(columns=["town", "born"])}
    with pytest.raises(ConfigurationError) as caught:
        train(data, schema, settings=SETTINGS)
    assert len(caught.value.faults) == 3
    assert "tables.customer.town: the schema has this column, the data does not. Next step: pass it" in caught.value.faults


def test_rows_that_break_the_keys_are_told_with_counts(schema_file: Path) -> None:
    data = frames()
    data["purchase"].loc[:2, "customer"] = 999
    data["customer"].loc[9, "id"] = 1
    with pytest.raises(SourceDataError) as caught:
        train(data, schema_file, settings=SETTINGS)
    assert "customer: 1 duplicates in (id)" in str(caught.value)
    assert "orphans in purchase.customer->customer" in str(caught.value)
    assert "Next step: mend the tables before training" in str(caught.value)
    assert "policy" not in str(caught.value)  # Python takes none


def test_what_no_table_can_be_made_of_is_told_by_column_and_never_by_value() -> None:
    tables = {
        "a": pd.DataFrame({"age": [1, 2, "Zebedee"], "z": [1j, 2j, 3j], "n": [1, 2, 3]}),
        "b": pd.DataFrame(),
        "c": pa.table({"u": pa.array([1, 2**63], pa.uint64())}),
    }
    with pytest.raises(ConfigurationError) as caught:
        train(tables)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["tables.a.age", "tables.a.z", "tables.b", "tables.c.u"]
    assert all("Next step: " in fault for fault in caught.value.faults)
    assert "Zebedee" not in str(caught.value)


@pytest.mark.parametrize("as_arrow", [False, True])
def test_columns_of_one_name_are_refused(as_arrow: bool) -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"])
    table = pa.table([[1], [2], [3]], names=["a", "b", "a"]) if as_arrow else frame
    with pytest.raises(ConfigurationError, match=r"tables\.t: each column must have a name of its own. Found: 'a' again. Next step"):
        train({"t": table})


def test_columns_that_the_types_of_a_schema_cannot_hold_are_told_at_once_and_never_by_value(schema_file: Path) -> None:
    schema = infer_schema(frames(), schema_file)
    tables = {name: frame.copy() for name, frame in frames().items()}
    tables["purchase"]["price"] = "Ashfield"
    tables["customer"]["born"] = "Birchwood"
    with pytest.raises(ConfigurationError) as raised:
        train(tables, schema, settings=SETTINGS)
    told = str(raised.value)
    assert "tables.purchase.price: must hold values of type" in told and "tables.customer.born: must hold values of type" in told
    assert "Ashfield" not in told and "Birchwood" not in told and raised.value.__cause__ is None


def test_wrong_settings_are_told_before_any_work(schema_file: Path) -> None:
    with pytest.raises(ConfigurationError, match="training.size"):
        train(frames(), schema_file, settings={"training": {"size": "huge"}})
    with pytest.raises(ConfigurationError, match="columns.customer.twon: there is no such column"):
        train(frames(), schema_file, settings={"columns": {"customer": {"twon": {"kind": "text"}}}})


@pytest.mark.parametrize("rows", [{"customer": True}, {"customer": 2.5}, {"customer": -1}, {"customer": "9"}, ["customer"]])
def test_numbers_of_rows_that_are_none_are_told(model: SynthModel, rows: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"rows(\.customer)?: "):
        model.generate(rows)


def test_an_unknown_table_in_the_rows_asked_for_is_told(model: SynthModel) -> None:
    with pytest.raises(ConfigurationError, match="rows.orders: there is no such table. Next step: name one of customer, purchase"):
        model.generate({"orders": 5})


def test_a_schema_file_that_does_not_fit_the_data_is_told(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(LOOSE_KEYS.replace("table: customer", "table: client"))
    with pytest.raises(ConfigurationError, match="there must be a table of that name. Found: 'client'"):
        train(frames(), tmp_path / "schema.yaml", settings=SETTINGS)
