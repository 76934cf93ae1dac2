"""The page of the worst columns and pairs, and the table of ablations, from what a comparison left."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import ablations, worst
from benchmarks.compare import compare
from benchmarks.data import DataSet
from synth_engine.errors import Terminal
from tests.benchmarks.shop import SCHEMA, shop
from tests.benchmarks.test_compare import COPIES, fake_peer

DATA = DataSet("shop", SCHEMA, shop(0))


def test_the_page_draws_real_and_synthetic_shares_of_the_lowest_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_peer(tmp_path, monkeypatch, COPIES)
    compare([DATA], ["ours"], [0], 1.0, tmp_path / "out", Console(file=io.StringIO()))
    page = worst.draw(SCHEMA, tmp_path / "out" / "shop" / "seed-0" / "ours").read_text(encoding="utf-8")
    assert "synthetic: 1.000" in page and "Plotly.newPlot" in page
    assert all(f"{name}." in page for name in SCHEMA.tables)


def test_without_scores_it_says_what_to_run_first(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="benchmarks.compare"):
        worst.draw(SCHEMA, tmp_path)


def test_ablations_are_systems_of_their_own_beside_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_peer(tmp_path, monkeypatch, COPIES)
    monkeypatch.setattr(ablations, "read_data", lambda folders: [DATA])
    monkeypatch.setattr("sys.argv", ["ablations", "--variants", "no-siblings", "--seeds", "0", "--out", str(tmp_path / "out")])
    assert ablations.main() == 0
    told = (tmp_path / "out" / "ablations.md").read_text(encoding="utf-8")
    assert "| this product |" in told and "| rows not told of their earlier siblings |" in told
    assert {p.name for p in (tmp_path / "out" / "shop" / "seed-0").iterdir()} >= {"ours", "ours-no-siblings"}
