"""The whole job on a small shop: from one schema of a DuckDB file to another, resumable, repeatable, and with nothing real let out."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import string
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth_engine import library, pipeline
from synth_engine.errors import (
    ConfigurationError,
    CorruptArtefact,
    PublicationRefused,
    SchemaMismatch,
    SourceDataError,
    Terminal,
    Transient,
    ValidationFailed,
    WarehouseError,
)
from synth_engine.model.artefacts import read_model
from synth_engine.model.generation import Generation
from synth_engine.progress import Progress
from synth_engine.schema import Column, Kind, Provenance, Schema, Table
from synth_engine.warehouse import open_warehouse
from synth_engine.workspace import STEPS, Manifest, Workspace
from tests import small_shop
from tests.small_shop import CANARY_EMAIL, CANARY_TOWN, CUSTOMERS, ORDERS, Place, config, query

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A shop whose run is finished. To be read only."""
    place = Place(tmp_path_factory.mktemp("finished"))
    place.run()
    return place


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A shop whose model is trained. To be copied."""
    place = Place(tmp_path_factory.mktemp("trained"))
    place.extract()
    pipeline.train(config(), place.workspace)
    return place


@pytest.fixture
def place(trained: Place, tmp_path: Path) -> Place:
    """A copy of the trained shop, to work on."""
    copy = Place(tmp_path)
    shutil.copy(trained.file, copy.file)
    shutil.copytree(trained.folder / "work", tmp_path / "work")
    # its manifests speak of the other file: for the copy, the steps that read the source have to say theirs
    pipeline.reflect(config(), copy.workspace, copy.warehouse)
    pipeline.extract(config(), copy.workspace, copy.warehouse)
    return copy


def synthetic(place: Place) -> dict[str, bytes]:
    return place.files("synthetic/tables")


def twin(place: Place) -> dict[str, list[tuple[Any, ...]]]:
    """The published rows by table; nothing where there is no schema `twin`."""
    tables = query(place.file, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'twin' ORDER BY 1")
    return {name: query(place.file, f"SELECT * FROM twin.{name} ORDER BY ALL") for (name,) in tables}  # noqa: S608


# -- the whole run -----------------------------------------------------------------------------------------------------


def test_the_twin_stands_beside_the_source_with_its_tables_types_and_keys(finished: Place) -> None:
    facts = """SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
        WHERE table_schema = $1 ORDER BY table_name, ordinal_position"""
    with duckdb.connect(str(finished.file)) as connection:
        real, made = (connection.execute(facts, [schema]).fetchall() for schema in ("shop", "twin"))
        keys = "SELECT constraint_text FROM duckdb_constraints() WHERE schema_name = $1 AND constraint_type LIKE '% KEY' ORDER BY ALL"
        real_keys, made_keys = (connection.execute(keys, [schema]).fetchall() for schema in ("shop", "twin"))
    assert made == real
    assert [text.replace("twin.", "") for (text,) in made_keys] == [text.replace("shop.", "") for (text,) in real_keys]
    assert {name: len(rows) for name, rows in twin(finished).items()} == {"customer": CUSTOMERS, "purchase": ORDERS}


def test_the_source_is_left_as_it_was(finished: Place) -> None:
    assert query(finished.file, "SELECT count(*), sum(id) FROM shop.customer") == [(CUSTOMERS, sum(range(1, CUSTOMERS + 1)))]
    assert query(finished.file, "SELECT count(*) FROM shop.purchase") == [(ORDERS,)]


def test_no_staging_area_is_left(finished: Place) -> None:
    schemas = query(finished.file, "SELECT DISTINCT schema_name FROM information_schema.schemata WHERE schema_name LIKE '%stg%'")
    assert schemas == []


def test_each_step_leaves_a_manifest_that_names_what_it_read(finished: Place) -> None:
    manifests = {step: finished.workspace.require(step) for step in STEPS}
    assert {m.fingerprint for m in manifests.values()} == {finished.schema().fingerprint()}
    for manifest in manifests.values():
        assert manifest.inputs == {step: manifests[step].digest() for step in manifest.inputs}
        assert manifest.facts["seconds"] >= 0
        finished.workspace.verify(manifest)
    assert manifests["extract"].facts["rows"] == manifests["generate"].facts["rows"] == {"customer": CUSTOMERS, "purchase": ORDERS}
    assert manifests["train"].facts["reproducible"] is True
    assert manifests["train"].facts["entities"] == ["customer: each row is an entity, with its rows of purchase"]
    assert manifests["validate"].facts["passed"] is True


def test_the_report_says_how_good_the_twin_is(finished: Place) -> None:
    facts = finished.workspace.require("report").facts
    assert 0 < facts["summary"]["shapes"] <= 1
    assert finished.workspace.require("validate").facts["keys_checked"] == 4
    assert set(facts["privacy"]) == {"customer", "purchase"}
    page = finished.workspace.read_bytes(facts["path"]).decode()
    assert "purchase" in page
    assert "customer: each row is an entity, with its rows of purchase" in page
    assert json.loads(finished.workspace.read_bytes(finished.workspace.scores))["fidelity"]


def test_the_workspace_may_be_a_bucket(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.workspace = Workspace(f"memory://run-{tmp_path.name}")
    done = place.run(training={"size": "small", "max_epochs": 1, "device": "cpu"})
    try:
        assert tuple(done) == STEPS
        assert {name: len(rows) for name, rows in twin(place).items()} == {"customer": CUSTOMERS, "purchase": ORDERS}
        assert any(entry.path.endswith("data_docs/local_site/index.html") for entry in done["validate"].files)
        for manifest in done.values():
            place.workspace.verify(manifest)
        assert list(tmp_path.iterdir()) == [place.file]
    finally:
        place.workspace.clear("")


def test_a_second_run_finds_everything_done(finished: Place) -> None:
    before, rows = finished.manifests(), twin(finished)
    finished.run()
    assert finished.manifests() == before
    assert twin(finished) == rows


def test_a_step_says_whether_it_was_finished_now_or_before(finished: Place) -> None:
    assert finished.workspace.finished_now == set(STEPS)
    again = Workspace(finished.workspace.uri)
    manifests = pipeline.run(config(), again, finished.warehouse, finished.warehouse)
    assert again.finished_now == set()
    times = [manifests[step].facts["finished"] for step in STEPS]
    assert times == sorted(times)


def test_progress_is_told_by_the_steps_that_take_long(place: Place) -> None:
    told: list[Progress] = []
    pipeline.generate(config(), place.workspace, told.append)
    pipeline.load(config(), place.workspace, place.warehouse, told.append)
    assert {p.step for p in told} >= {"generate", "load"}
    assert all(p.done <= p.total for p in told)
    loaded = {p.table: p for p in told if p.step == "load"}
    assert {name: (p.done, p.total, p.unit) for name, p in loaded.items()} == {
        "customer": (CUSTOMERS, CUSTOMERS, "rows"),
        "purchase": (ORDERS, ORDERS, "rows"),
    }


def test_progress_over_rows_tells_their_speed(tmp_path: Path) -> None:
    place, told = Place(tmp_path), list[Progress]()
    pipeline.run(config(), place.workspace, place.warehouse, place.warehouse, told.append)
    for step in ("extract", "generate", "load", "report"):
        last = [p for p in told if p.step == step][-1]
        assert last.done == last.total, step
        assert last.facts["rows/s"] > 0, step


# -- nothing real gets out ---------------------------------------------------------------------------------------------


def test_no_value_that_only_one_customer_has_lands_outside_real(finished: Place) -> None:
    canaries = [CANARY_EMAIL.encode(), CANARY_TOWN.encode()]
    assert any(CANARY_EMAIL.encode() in content for content in plain(finished.files("real")).values()), "the canary was not in the source"
    for part in ("synthetic", "manifests"):
        for path, content in plain(finished.files(part)).items():
            assert not any(canary in content for canary in canaries), path
    assert not any(CANARY_EMAIL in row or CANARY_TOWN in row for rows in twin(finished).values() for row in rows)


def test_no_real_email_is_written_again(finished: Place) -> None:
    real = {email for _, email, *_ in small_shop.customers()}
    made = [email for (email,) in query(finished.file, "SELECT email FROM twin.customer")]
    assert real.isdisjoint(made)
    assert all("@" in email for email in made)


def test_the_model_holds_no_value_that_only_one_customer_has(finished: Place) -> None:
    for path, content in finished.files("real/model").items():
        assert CANARY_EMAIL.encode() not in content, path
        assert CANARY_TOWN.encode() not in content, path


def test_what_one_customer_has_in_many_rows_is_written_only_if_each_row_is_said_to_be_an_entity(tmp_path: Path) -> None:
    changes = [
        "ALTER TABLE shop.purchase ADD COLUMN agreed varchar",
        "UPDATE shop.purchase SET customer = 1 WHERE id % 10 = 0",
        "UPDATE shop.purchase SET agreed = CASE WHEN customer = 1 THEN 'by one alone' ELSE 'by all' END",
    ]
    written = {}
    for folder, entity_tables in (("default", []), ("rows", ["purchase"])):
        (tmp_path / folder).mkdir()
        twin = Place(tmp_path / folder, extra=changes)
        privacy = {"rare_category_entities": 3, "entity_tables": entity_tables}
        twin.run(privacy=privacy, training={"max_epochs": 20})
        told = "values are protected for each row of purchase" in twin.workspace.read_bytes(twin.workspace.report).decode()
        assert told == bool(entity_tables)
        entities = twin.workspace.require("train").facts["entities"]
        together, apart = ["customer: each row is an entity, with its rows of purchase"], ["customer: each row is an entity"]
        assert entities == ([*apart, "purchase: each row is an entity, whomever it refers to (customer)"] if entity_tables else together)
        model = read_model(twin.workspace)
        # that customer has more rows than a twin may tell, and not every twin has one of the same make
        drawn = (Generation(model, {}, seed).run().batches("purchase", ORDERS) for seed in range(10))
        written[folder] = {value for batches in drawn for batch in batches for value in batch["agreed"].to_pylist()}
        assert {value for (value,) in query(twin.file, "SELECT DISTINCT agreed FROM twin.purchase")} <= written[folder]
    assert written == {"default": {"by all"}, "rows": {"by all", "by one alone"}}


def test_the_canary_is_not_told_while_the_steps_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    place, told = Place(tmp_path), []
    with caplog.at_level(0):
        pipeline.run(config(), place.workspace, place.warehouse, place.warehouse, lambda p: told.append(str(p)))
    shown = capfd.readouterr()
    everything = shown.out + shown.err + caplog.text + "".join(told)
    assert CANARY_EMAIL not in everything
    assert CANARY_TOWN not in everything


def plain(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with Parquet, which is compressed, as text."""
    return {
        path: pq.read_table(io.BytesIO(content)).to_pandas().to_csv().encode() if path.endswith(".parquet") else content
        for path, content in files.items()
    }


@pytest.mark.postgres
def test_no_password_is_kept_anywhere(tmp_path: Path, postgres_url: str) -> None:
    from sqlalchemy import make_url

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS shop CASCADE")
        connection.execute("CREATE SCHEMA shop")
        connection.execute("CREATE TABLE shop.item (id integer PRIMARY KEY, colour varchar)")
        connection.execute(
            "INSERT INTO shop.item SELECT i, CASE WHEN i % 3 = 0 THEN 'red' ELSE 'blue' END FROM generate_series(1, 200) t(i)"
        )
    url = make_url(postgres_url)
    secret = url.password or "hunter2-canary"
    place = Place(tmp_path)
    target = tmp_path / "twin"
    warehouse = open_warehouse(url.set(password=secret).render_as_string(hide_password=False))
    try:
        settings = config(source=url.set(password=secret).render_as_string(hide_password=False), target=str(target), target_schema=None)
        manifests = pipeline.run(settings, place.workspace, warehouse, open_warehouse(str(target)))
    finally:
        warehouse.close()
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA shop CASCADE")
    assert (target / "item.parquet").is_file()
    assert secret not in repr(settings)
    assert secret not in "".join(m.to_json() for m in manifests.values())
    found = [
        path for path in [*(tmp_path / "work").rglob("*"), *target.rglob("*")] if path.is_file() and secret.encode() in path.read_bytes()
    ]
    assert found == []


# -- the same seed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_rows", [1, 7, 64, 399, 400, 100_000])
def test_the_batch_size_of_generation_changes_no_byte(finished: Place, place: Place, batch_rows: int) -> None:
    """`place` was trained apart from `finished`: the model, too, is the same."""
    pipeline.generate(config(generation_batch_rows=batch_rows), place.workspace)
    assert synthetic(place) == synthetic(finished)


def test_another_seed_gives_another_twin(finished: Place, place: Place) -> None:
    pipeline.generate(config(seed=1), place.workspace)
    assert synthetic(place).keys() == synthetic(finished).keys()
    assert synthetic(place) != synthetic(finished)


def test_rows_that_are_asked_for_are_written(place: Place) -> None:
    facts = pipeline.generate(config(rows={"customer": 300}), place.workspace).facts
    assert facts["rows"] == {"customer": 300, "purchase": 2 * ORDERS}


def test_no_rows_of_a_table_can_be_asked_for(place: Place) -> None:
    facts = pipeline.generate(config(rows={"purchase": 0}), place.workspace).facts
    assert facts["rows"] == {"customer": CUSTOMERS, "purchase": 0}


# -- the structure of keys ----------------------------------------------------------------------------------------------


def test_a_kept_table_is_published_as_it_is_and_the_report_says_so_in_red(tmp_path: Path) -> None:
    place = Place(tmp_path, extra=["ALTER TABLE shop.customer ADD COLUMN badge blob", "UPDATE shop.customer SET badge = 'ab'::blob"])
    manifests = place.run(keep=["customer"], privacy={"rare_category_entities": 40, "extreme_value_entities": 40})
    assert query(place.file, "SELECT * FROM twin.customer EXCEPT SELECT * FROM shop.customer") == []
    assert twin(place)["customer"] == query(place.file, "SELECT * FROM shop.customer ORDER BY ALL")
    assert query(place.file, "SELECT count(*) FROM twin.purchase JOIN twin.customer ON customer = customer.id") == [(ORDERS,)]
    assert set(manifests["report"].facts["privacy"]) == {"purchase"}
    page = place.workspace.read_bytes(place.workspace.report).decode()
    assert '<p class="poor" role="alert"><strong>These tables are real, not synthetic' in page
    assert "privacy figures: customer." in page
    assert manifests["train"].facts["kept"] == ["customer"]
    assert "customer" not in manifests["train"].facts["protected"]
    before = place.manifests()
    place.run(keep=["customer"], privacy={"rare_category_entities": 40, "extreme_value_entities": 40})
    assert place.manifests() == before


def test_real_rows_of_a_kept_table_are_those_of_the_extract(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.extract(keep=["customer"])
    pipeline.train(config(keep=["customer"]), place.workspace)
    (part,) = place.workspace.parts(place.workspace.snapshot("customer"))
    place.workspace.write_bytes(part, b"other rows")
    with pytest.raises(CorruptArtefact, match="snapshot/customer/part-00000.parquet has another sha256"):
        pipeline.generate(config(keep=["customer"]), place.workspace)


def test_what_is_kept_and_whose_graph_it_is_are_settled_in_training(place: Place) -> None:
    pipeline.generate(config(), place.workspace)
    with pytest.raises(ConfigurationError) as caught:
        pipeline.generate(config(keep=["customer"], structure="original"), place.workspace)
    assert caught.value.faults == (
        "keep: must be as it was when the model was trained. Found: ['customer'], not []. Next step: set it so, or run train again",
        "structure: must be as it was when the model was trained. Found: original, not sampled. Next step: set it so, or run train again",
    )


def test_a_table_that_cannot_be_kept_is_told_before_any_work(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with pytest.raises(ConfigurationError, match="keep: purchase cannot be kept while customer is synthesised: purchase.customer->"):
        place.run(keep=["purchase"])
    assert place.manifests() == {}


def test_the_source_s_graph_can_be_published_and_the_report_warns_of_it(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run(structure="original")

    def graph(rows: list[tuple[Any, ...]]) -> list[tuple[int, int, int, int]]:
        """For each customer: purchases, those without a payer, those paid by himself, those that he paid for anybody."""
        found = {c: [0, 0, 0, 0] for _, customer, payer, *_ in rows for c in (customer, payer) if c is not None}
        for _, customer, payer, *_ in rows:
            found[customer][0] += 1
            found[customer][1] += payer is None
            found[customer][2] += payer == customer
            if payer is not None:
                found[payer][3] += 1
        return sorted(map(tuple, found.values()))

    assert graph(twin(place)["purchase"]) == graph(small_shop.purchases())
    assert "give this twin to trusted people only" in place.workspace.read_bytes(place.workspace.report).decode()
    assert any("/links/" in entry.path for entry in place.workspace.require("train").files)


def test_another_temperature_generates_again_and_trains_not(place: Place) -> None:
    pipeline.train(config(), place.workspace)
    pipeline.generate(config(), place.workspace)
    before = place.manifests()
    pipeline.train(config(links={"temperature": 0.5}), place.workspace)
    pipeline.generate(config(links={"temperature": 0.5}), place.workspace)
    assert {step for step, manifest in place.manifests().items() if manifest != before[step]} == {"generate"}
    assert place.workspace.require("generate").facts["rows"] == {"customer": CUSTOMERS, "purchase": ORDERS}


# -- done and not done -------------------------------------------------------------------------------------------------


def test_a_setting_of_a_later_step_leaves_the_earlier_ones_done(place: Place) -> None:
    place.run()
    before = place.manifests()
    place.run(rows={"customer": 60})
    assert {step for step, manifest in place.manifests().items() if manifest != before[step]} == {*STEPS[3:]}
    assert len(twin(place)["customer"]) == 60


def test_a_setting_of_training_trains_again(place: Place) -> None:
    before = place.workspace.require("train")
    after = pipeline.train(config(training={"max_epochs": 1}), place.workspace)
    assert after.digest() != before.digest()
    assert place.workspace.manifest("extract") is not None


def test_a_step_says_which_one_has_to_run_first(tmp_path: Path) -> None:
    place = Place(tmp_path)
    steps: list[tuple[str, Callable[[], Manifest]]] = [
        ("reflect", lambda: pipeline.extract(config(), place.workspace, place.warehouse)),
        ("reflect", lambda: pipeline.train(config(), place.workspace)),
        ("train", lambda: pipeline.generate(config(), place.workspace)),
        ("generate", lambda: pipeline.load(config(), place.workspace, place.warehouse)),
        ("extract", lambda: pipeline.validate(config(), place.workspace, place.warehouse)),
        ("reflect", lambda: pipeline.publish(config(), place.workspace, place.warehouse)),
        ("extract", lambda: pipeline.report(config(), place.workspace)),
    ]
    for missing, step in steps:
        with pytest.raises(Terminal, match=f"Step '{missing}' must have finished.*no manifest of it.*run '{missing}' first"):
            step()


KILLED = """
import os, signal, sys
from synth_engine import pipeline
from synth_engine.progress import Progress
from synth_engine.warehouse import open_warehouse
from synth_engine.workspace import Workspace
from tests.small_shop import config

url, folder, step, unit = sys.argv[1:]

def listener(progress: Progress) -> None:
    if (progress.step, progress.unit) == (step, unit):
        os.kill(os.getpid(), signal.SIGKILL)

warehouse = open_warehouse(url)
pipeline.run(config(), Workspace(folder), warehouse, warehouse, listener)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("step", "unit"), [("extract", "tables"), ("train", "epoch"), ("generate", "rows"), ("load", "rows")])
def test_a_run_that_was_killed_goes_on_at_the_step_that_did_not_finish(finished: Place, tmp_path: Path, step: str, unit: str) -> None:
    place = Place(tmp_path)
    command = [sys.executable, "-c", KILLED, place.url, str(tmp_path / "work"), step, unit]
    killed = subprocess.run(command, cwd=PROJECT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = place.manifests()
    assert set(before) == {*STEPS[: STEPS.index(step)]}
    assert twin(place) == {}
    place.run()
    after = place.manifests()
    assert set(after) == set(STEPS)
    assert {name: after[name] for name in before} == before
    assert synthetic(place) == synthetic(finished)
    assert twin(place) == twin(finished)


def test_half_of_a_step_that_another_attempt_left_is_not_used(place: Place) -> None:
    pipeline.generate(config(), place.workspace)
    expected = synthetic(place)
    (place.folder / "work" / "manifests" / "generate.json").unlink()
    left = place.folder / "work" / place.workspace.synthetic("customer")
    (left / "part-00007.parquet").write_bytes(b"half")
    pipeline.generate(config(), place.workspace)
    assert synthetic(place) == expected


# -- the target is safe -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ["shop", "SHOP"])
def test_a_target_that_is_the_source_is_refused_before_any_work(tmp_path: Path, schema: str) -> None:
    place = Place(tmp_path)
    with pytest.raises(PublicationRefused, match="The target must not be the source.*choose another target schema"):
        place.run(target_schema=schema)
    assert set(place.manifests()) <= {"reflect"}
    assert not place.files("real/snapshot")


@pytest.mark.parametrize("inside", ["", "work/space"])
def test_a_workspace_that_lies_in_the_target_is_refused_before_any_work(tmp_path: Path, inside: str) -> None:
    place, target = Place(tmp_path), tmp_path / "twin"
    workspace = Workspace(str(target / inside))
    with pytest.raises(ConfigurationError, match="must not lie in the target, for it holds real rows"):
        pipeline.run(config(target_schema=None), workspace, place.warehouse, open_warehouse(str(target)))
    assert workspace.manifest("extract") is None


def test_tables_of_somebody_else_are_refused_before_any_work(tmp_path: Path) -> None:
    place = Place(tmp_path, extra=["CREATE SCHEMA twin", "CREATE TABLE twin.customer AS SELECT 7 AS precious"])
    with pytest.raises(PublicationRefused, match="'customer' from elsewhere.*publication.replace_foreign_tables"):
        place.run()
    assert set(place.manifests()) <= {"reflect"}
    assert twin(place) == {"customer": [(7,)]}


def test_a_failed_validation_leaves_the_target_as_it_was(place: Place) -> None:
    place.run()
    before, manifests = twin(place), place.manifests()
    with pytest.raises(ValidationFailed) as caught:
        place.run(seed=5, validation={"distribution_distance": 1e-9})
    message = str(caught.value)
    assert "must meet every expectation" in message
    assert re.search(r"purchase: \w+ is distributed as in the source", message)
    assert "Next step: the target was left as it was" in message
    assert twin(place) == before
    assert place.manifests()["publish"] == manifests["publish"]


def test_after_a_failed_validation_the_run_goes_on_with_other_bounds(place: Place) -> None:
    with pytest.raises(ValidationFailed):
        place.run(validation={"distribution_distance": 1e-9})
    assert twin(place) == {}
    before = place.manifests()
    place.run()
    assert {step: place.manifests()[step] for step in STEPS[:4]} == {step: before[step] for step in STEPS[:4]}
    assert len(twin(place)["purchase"]) == ORDERS


def test_tables_that_are_no_longer_staged_are_told_by_name(place: Place) -> None:
    place.run()
    with pytest.raises(ValidationFailed, match="customer: the table is staged .it is missing.*purchase: the table is staged"):
        pipeline.validate(config(validation={"distribution_distance": 99}), place.workspace, place.warehouse)


def test_bounds_can_be_changed_after_publishing(place: Place) -> None:
    """The staging area is gone by then; what was published is staged and checked again."""
    place.run()
    before = twin(place)
    place.run(validation={"distribution_distance": 99})
    assert twin(place) == before


@pytest.mark.parametrize("lost", ["DROP TABLE twin.purchase", "DROP SCHEMA twin CASCADE"])
def test_tables_that_somebody_dropped_are_published_again(place: Place, lost: str) -> None:
    place.run()
    before, rows = place.manifests(), twin(place)
    query(place.file, lost)
    with pytest.raises(WarehouseError, match="run the load step again"):
        pipeline.publish(config(), place.workspace, place.warehouse)
    place.run()
    assert twin(place) == rows
    assert {step for step, manifest in place.manifests().items() if manifest != before[step]} == {"load", "validate", "publish", "report"}


def test_an_old_run_does_not_bring_its_tables_back_over_those_of_a_newer_one(place: Place, tmp_path: Path) -> None:
    place.run()
    newer = Workspace(str(tmp_path / "newer"))
    pipeline.run(config(seed=5), newer, place.warehouse, place.warehouse)
    rows = twin(place)
    place.run()
    assert twin(place) == rows


# -- one process at a time ----------------------------------------------------------------------------------------------


def test_no_step_is_done_while_another_process_works_in_the_workspace(place: Place) -> None:
    before, other = place.manifests(), Workspace(place.workspace.uri)
    with other.alone():
        for step in (
            lambda: place.run(),
            lambda: place.extract(),
            lambda: pipeline.train(config(seed=9), place.workspace),
            lambda: pipeline.generate(config(), place.workspace),
        ):
            with pytest.raises(Transient, match="One process at a time may work in a workspace"):
                step()
    assert place.manifests() == before
    place.run()


# -- what cannot be -----------------------------------------------------------------------------------------------------


def test_more_rows_than_memory_holds_are_refused_before_any_work(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with pytest.raises(ConfigurationError, match=r"rows\.purchase: all tables must fit in memory.*10,000,000,000,000 rows.*ask for fewer"):
        place.run(rows={"customer": 5, "purchase": 10**13})
    assert set(place.manifests()) == {"reflect"}


def test_more_rows_than_memory_holds_are_refused_by_generate_alone(place: Place) -> None:
    """The purchases follow their customers, so that the largest table is not the one asked for."""
    with pytest.raises(ConfigurationError, match=r"rows\.purchase: all tables must fit in memory"):
        pipeline.generate(config(rows={"customer": 10**13}), place.workspace)


# -- artefacts are trusted by their hash --------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["model.json", "000-rows.pt", "001-degrees-0.txt", "held-out/customer.parquet"])
def test_a_model_file_changed_by_one_byte_is_refused(place: Place, which: str) -> None:
    path = place.folder / "work" / "real" / "model" / which
    flip_a_bit(path)
    with pytest.raises(CorruptArtefact) as caught:
        pipeline.generate(config(), place.workspace)
    message = str(caught.value)
    assert "A file must be the one step 'train' wrote" in message
    assert f"real/model/{which} has another sha256 than its manifest" in message
    assert "Next step: restore the file, or remove manifests/train.json and run the step again" in message
    assert "generate" not in place.manifests()


def test_a_snapshot_or_synthetic_table_changed_by_one_byte_is_refused(place: Place) -> None:
    pipeline.generate(config(), place.workspace)
    flip_a_bit(place.folder / "work" / "synthetic" / "tables" / "customer" / "part-00000.parquet")
    with pytest.raises(CorruptArtefact, match="synthetic/tables/customer/part-00000.parquet has another sha256"):
        pipeline.load(config(), place.workspace, place.warehouse)
    flip_a_bit(place.folder / "work" / "real" / "snapshot" / "purchase" / "part-00000.parquet")
    with pytest.raises(CorruptArtefact, match="real/snapshot/purchase/part-00000.parquet has another sha256"):
        pipeline.train(config(seed=9), place.workspace)


def test_a_model_file_that_is_missing_is_refused(place: Place) -> None:
    (place.folder / "work" / "real" / "model" / "000-rows.pt").unlink()
    with pytest.raises(CorruptArtefact, match="000-rows.pt is missing"):
        pipeline.generate(config(), place.workspace)


def test_a_model_of_another_schema_is_refused(place: Place) -> None:
    """The hash is right, but somebody has put another schema beside it."""
    schema = place.schema()
    wider = replace(schema.tables["customer"], unique=(("email",),))
    schema = replace(schema, tables={**schema.tables, "customer": wider})
    place.workspace.write_json(place.workspace.schema, schema.to_dict())
    with pytest.raises(SchemaMismatch, match="A model serves the schema it was trained on.*run train again"):
        pipeline.generate(config(), place.workspace)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


# -- columns that are easily spoilt ------------------------------------------------------------------------------------

ODD_TABLE = (
    "CREATE TABLE shop.odd (code varchar PRIMARY KEY, day bigint NOT NULL, worth hugeint, size ubigint NOT NULL, photo blob NOT NULL)",
    """INSERT INTO shop.odd SELECT chr(65 + i // 26) || chr(65 + i % 26), strftime(DATE '2014-01-01' + i % 300, '%Y%m%d')::bigint,
        i::hugeint * 10::hugeint ** 20, hash(i), unhex(md5(i::varchar)) FROM (SELECT range::integer AS i FROM range(600))""",
)
ODD_KINDS = {"odd": {"day": {"kind": "date"}, "photo": {"kind": "category"}}}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished run over a table of keys without room, dates in integers, integers of 128 bits, and photographs. To be read only."""
    place = Place(tmp_path_factory.mktemp("odd"), extra=ODD_TABLE)
    place.run(tables=["odd"], columns=ODD_KINDS)
    return place


def test_dates_in_integers_come_out_as_days_of_the_calendar(odd: Place) -> None:
    assert query(odd.file, "SELECT count(*), count(try_strptime(day::varchar, '%Y%m%d')) FROM twin.odd") == [(600, 600)]


def test_integers_that_a_kind_takes_for_dates_and_are_none_are_refused_by_extract(tmp_path: Path) -> None:
    place = Place(tmp_path, extra=[*ODD_TABLE, "UPDATE shop.odd SET day = 20140231 WHERE code < 'AD'"])
    with pytest.raises(ConfigurationError) as raised:
        place.extract(tables=["odd"], columns=ODD_KINDS)
    assert raised.value.faults[0].startswith("columns.odd.day: every value of kind date in type int64 must be written in one of: yyyymmdd")
    assert "0.50% of the values (3 of 600) are not yyyymmdd" in raised.value.faults[0]
    assert "20140231" not in str(raised.value)


def test_wide_integers_keep_their_type(odd: Place) -> None:
    types = "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'twin' AND table_name = 'odd'"
    assert dict(query(odd.file, types)) == {"code": "VARCHAR", "day": "BIGINT", "worth": "HUGEINT", "size": "UBIGINT", "photo": "BLOB"}


def test_bytes_that_nobody_shares_and_must_not_be_null_are_new_ones(odd: Place) -> None:
    assert query(odd.file, "SELECT count(*) FROM twin.odd WHERE photo IS NULL OR photo IN (SELECT photo FROM shop.odd)") == [(0,)]


def test_a_table_of_few_rows_is_valid_though_all_its_categories_are_rare(tmp_path: Path) -> None:
    regions = (
        "CREATE TABLE shop.regions (id integer PRIMARY KEY, name varchar, open boolean NOT NULL)",
        "INSERT INTO shop.regions SELECT i, ['North', 'South', 'East', 'West'][i], i < 3 FROM (SELECT range AS i FROM range(1, 5))",
    )
    place = Place(tmp_path, extra=regions)
    place.run(tables=["regions"], columns={"regions": {"name": {"kind": "category"}}})
    real = "SELECT name FROM shop.regions"
    assert query(place.file, f"SELECT count(name), count(*) FILTER (name IN ({real})) FROM twin.regions") == [(4, 0)]  # noqa: S608


def test_keys_whose_format_has_no_room_for_new_ones_are_told_to_have_another(odd: Place) -> None:
    counts = "SELECT count(DISTINCT code), count(*) FILTER (code IN (SELECT code FROM shop.odd)) FROM twin.odd"
    ((distinct, real),) = query(odd.file, counts)
    assert (distinct, real) == (600, 0)
    (told,) = odd.workspace.require("generate").facts["changed"]["odd"]["code"]
    assert told.startswith("100% of the values have a format with too little room for 600 new ones")
    assert f"odd.code: {told}" in odd.workspace.read_bytes(odd.workspace.report).decode()


def test_more_keys_than_their_type_has_room_for_are_refused_before_training() -> None:
    codes = [a + b for a in string.printable[:94] for b in string.printable[:94]]
    schema = Schema.of([Table("t", (Column("code", Kind.IDENTIFIER, "string(2)", nullable=False),), primary_key=("code",))])
    with pytest.raises(ConfigurationError, match=r"t\.code: its type must have room for new values beside the real ones") as raised:
        library.train({"t": pa.table({"code": codes})}, schema)
    assert "Next step: widen the column in the source" in str(raised.value)


# -- what reflect says --------------------------------------------------------------------------------------------------


def test_columns_that_cannot_be_modelled_are_noted(tmp_path: Path) -> None:
    extra = ["ALTER TABLE shop.customer ADD COLUMN photo blob", "ALTER TABLE shop.customer ADD COLUMN tags varchar[]"]
    place = Place(tmp_path, extra=extra)
    manifest = pipeline.reflect(config(), place.workspace, place.warehouse)
    notes = manifest.facts["notes"]["customer"]
    assert any("column photo" in note and "of kind binary, which is not modelled: it is written as null" in note for note in notes)
    assert any("column tags" in note and "it is written as null" in note for note in notes)
    assert list(place.schema().tables["customer"].notes) == notes


def test_only_selected_tables_are_reflected(tmp_path: Path) -> None:
    place = Place(tmp_path)
    manifest = pipeline.reflect(config(tables=["purchase"]), place.workspace, place.warehouse)
    assert list(place.schema().tables) == ["purchase"]
    assert "purchase.customer->customer is dropped because table 'customer' is not selected" in manifest.facts["notes"]["purchase"][0]


def test_kinds_follow_from_the_data_but_for_those_that_settings_or_a_file_name(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "schema.yaml").write_text("tables: {customer: {columns: {town: {kind: text}}}}")
    settings = config(schema_file=str(tmp_path / "schema.yaml"), columns={"customer": {"email": {"kind": "category"}}})
    pipeline.reflect(settings, place.workspace, place.warehouse)
    kinds = {c.name: c.kind for c in place.schema().tables["customer"].columns}
    assert kinds == {"id": Kind.IDENTIFIER, "email": Kind.CATEGORY, "town": Kind.TEXT, "born": Kind.DATE}


def test_keys_are_inferred_from_the_data_only_if_that_is_asked_for(tmp_path: Path) -> None:
    place = Place(tmp_path, keys=False)
    silent = pipeline.reflect(config(), place.workspace, place.warehouse)
    assert "inferred_keys" not in silent.facts
    assert not any(table.primary_key or table.foreign_keys for table in place.schema().tables.values())
    asked = pipeline.reflect(config(infer_keys=True), place.workspace, place.warehouse)
    customer, purchase = (place.schema().tables[name] for name in ("customer", "purchase"))
    assert (customer.primary_key, customer.provenance(("id",))) == (("id",), Provenance.INFERRED)
    assert [(key.columns, key.parent, key.provenance) for key in purchase.foreign_keys] == [
        (("customer",), "customer", Provenance.INFERRED)
    ]
    taken = [(key["table"], key["columns"]) for key in asked.facts["inferred_keys"] if key["taken"]]
    assert taken == [("customer", ["id"]), ("purchase", ["id"]), ("purchase", ["customer"])]
    assert "mail.test" not in asked.to_json()


def test_an_inferred_key_that_only_the_first_rows_keep_stops_at_extract_with_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "synth_engine.statistics.first_rows", lambda table, batches: (pa.Table.from_batches(list(batches)).slice(0, 50), False)
    )
    place = Place(tmp_path, keys=False, extra=["INSERT INTO shop.customer VALUES (1, 'again@mail.test', NULL, NULL)"])
    with pytest.raises(SourceDataError, match=r"customer: 1 duplicates in \(id\)"):
        place.extract(infer_keys=True)


def test_a_dbt_manifest_names_the_keys(tmp_path: Path) -> None:
    place = Place(tmp_path, keys=False)
    manifest: dict[str, Any] = {
        "metadata": {"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json"},
        "nodes": {
            "model.shop.customer": {
                "unique_id": "model.shop.customer",
                "resource_type": "model",
                "name": "customer",
                "schema": "shop",
                "config": {"contract": {"enforced": True}},
                "constraints": [{"type": "primary_key", "columns": ["id"]}],
            }
        },
        "sources": {},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    pipeline.reflect(config(schema_file=str(tmp_path / "manifest.json")), place.workspace, place.warehouse)
    assert place.schema().tables["customer"].provenance(("id",)) is Provenance.CONTRACT
