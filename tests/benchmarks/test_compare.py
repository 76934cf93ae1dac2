"""The command: what is done is not done again, and a peer that fails stands in the table with its message."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from benchmarks import compare as command
from benchmarks.compare import compare
from benchmarks.data import DataSet, read_folder
from benchmarks.page import CEILING, Result, markdown, show
from benchmarks.plots import write_plots
from synth_engine.errors import ConfigurationError, Transient
from tests.benchmarks.shop import SCHEMA, shop

DATA = DataSet("shop", SCHEMA, shop(0))


def fake_peer(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    """A peer whose interpreter is a shell script; each run adds a line to the file returned."""
    runs, script = folder / "runs", folder / "python"
    # called as: python -m benchmarks.peers.NAME SOURCE TARGET SEED CAP
    script.write_text(f"#!/bin/sh\necho ran >> {runs}\nSOURCE=$3\nTARGET=$4\n{body}\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(command, "interpreter", lambda peer, environments: script)
    return runs


COPIES = """
mkdir -p $TARGET/tables && cp $SOURCE/*.parquet $TARGET/tables
echo '{"phases": {"training": [0, 1.5], "generation": [2, 3]}, "remarks": ["told nothing of products"]}' > $TARGET/handed_over.json
"""


def run_once(out: Path, cap: float = 1.0) -> list[Result]:
    return compare([DATA], ["ours"], [0], cap, out, Console(file=io.StringIO()))


def test_a_peer_that_copies_is_perfect_and_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_peer(tmp_path, monkeypatch, COPIES)
    peer, ceiling = run_once(tmp_path / "out")
    assert peer.figures["shapes"] == [1.0] and peer.figures["copies"] == [1.0] and peer.figures["train_seconds"] == [1.5]
    assert peer.is_red("copies") and peer.is_red("closer") and peer.is_red("membership") and not peer.is_red("faults")
    assert peer.notes == ["told nothing of products"]
    assert ceiling.system == CEILING and not ceiling.is_red("copies") and ceiling.figures["faults"] == [0]


def test_what_is_finished_is_not_done_again_unless_something_else_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = fake_peer(tmp_path, monkeypatch, COPIES)
    first, again = run_once(tmp_path / "out"), run_once(tmp_path / "out")
    assert first == again and runs.read_text().count("ran") == 1
    run_once(tmp_path / "out", cap=2.0)
    assert runs.read_text().count("ran") == 2


def test_a_peer_that_fails_stands_in_table_page_and_plots_with_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_peer(tmp_path, monkeypatch, "echo 'Five tables [at most] in this edition' >&2; exit 1")
    results = run_once(tmp_path / "out")
    printed = io.StringIO()
    show(results, Console(file=printed, width=200))
    for text in (printed.getvalue(), markdown(results, "One seed.")):
        assert "this product (0 of 1 seeds)" in text and "Five tables [at most] in this edition" in text and "real, held out" in text
    write_plots(results, tmp_path / "plots.html")
    assert "real, held out" in (tmp_path / "plots.html").read_text(encoding="utf-8")


def test_what_cannot_be_scored_is_its_peers_failure_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_peer(tmp_path, monkeypatch, f"{COPIES}\nfor table in $TARGET/tables/*; do echo broken > $table; done")
    peer, ceiling = run_once(tmp_path / "out")
    assert not peer.figures and peer.notes[0].startswith("what it wrote cannot be scored: ArrowInvalid")
    assert ceiling.figures["shapes"]


def test_an_environment_that_could_not_be_made_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> Path:
        raise Transient("The environment of ours must be installable", value="no network")

    monkeypatch.setattr(command, "interpreter", unreachable)
    assert "no network" in run_once(tmp_path / "out")[0].notes[0]
    fake_peer(tmp_path, monkeypatch, COPIES)
    assert run_once(tmp_path / "out")[0].figures["shapes"] == [1.0]


def test_tables_of_an_earlier_run_are_not_those_of_a_later_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_peer(tmp_path, monkeypatch, COPIES)
    run_once(tmp_path / "out")
    fake_peer(tmp_path, monkeypatch, f"{COPIES}\nrm $(ls $TARGET/tables/* | head -1)")
    assert any("the table is missing" in note for note in run_once(tmp_path / "out", cap=2.0)[0].notes)


def test_means_stand_beside_deviations_and_most_seeds_decide_what_is_red() -> None:
    result = Result("shop", "ours", 3, {"shapes": [0.9, 0.92, 0.94], "closer": [0.51, 0.53, 0.5], "faults": [0, 0, 1]}, {"closer": 1})
    assert result.cell("shapes") == "0.920 ±0.020" and result.cell("order") == "–"
    assert not result.is_red("closer") and result.is_red("faults")
    assert "| **0 ±1** |" in markdown([result], "Three seeds.")


def test_a_folder_is_read_with_the_keys_of_its_schema_file(tmp_path: Path) -> None:
    for name, table in DATA.tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    keys = {
        "order": {
            "primary_key": ["id"],
            "foreign_keys": [{"columns": ["customer_id"], "references": {"table": "customer", "columns": ["id"]}}],
        }
    }
    keys["customer"] = {"primary_key": ["id"]}
    (tmp_path / "schema.yaml").write_text(json.dumps({"tables": keys}), encoding="utf-8")
    found = read_folder(tmp_path)
    assert found.name == tmp_path.name and len(found.tables["line"]) == 3000
    assert found.schema.tables["order"].foreign_keys[0].parent == "customer"


def test_a_folder_without_a_schema_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="schema.yaml"):
        read_folder(tmp_path)
