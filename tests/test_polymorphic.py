"""Polymorphic references from Python and through a whole run: declared in YAML, held by validation, told by the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from synth_engine import cli, train
from synth_engine.errors import SourceDataError
from tests.blog import KEYS, blog, orphans

TRAINING = {"training": {"size": "small", "max_epochs": 1, "device": "cpu"}}

SETTINGS = """
training: {size: small, max_epochs: 1}
validation: {distribution_distance: 100}
"""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.yaml"
    path.write_text(KEYS)
    return path


def synth(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["synth", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code


def test_data_frames_get_a_twin_whose_ids_are_in_the_table_their_type_says(keys: Path) -> None:
    twin = train(blog(5), keys, settings=TRAINING).generate({"comments": 100}, seed=1)
    assert orphans({name: table.to_pandas() for name, table in twin.items()}) == 0
    assert twin["comments"].num_rows == 100


def test_ids_without_a_row_and_types_that_are_not_declared_are_counted(keys: Path) -> None:
    tables = blog(5)
    comments = tables["comments"]
    comments.loc[[236, 237], ["about_type", "about_id"]] = ["user", "U-99999"]
    comments.loc[[238], ["about_type", "about_id"]] = ["page", "1003"]
    comments.loc[[239], ["about_type", "about_id"]] = [None, "1003"]
    with pytest.raises(SourceDataError, match=r"comments: 4 orphans in comments\.about_type\+about_id"):
        train(tables, keys, settings=TRAINING)


def test_a_run_over_a_folder_holds_and_tells_them(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, work = tmp_path / "source", tmp_path / "work"
    source.mkdir()
    tables = blog(6)
    tables["comments"].loc[3, ["about_type", "about_id"]] = ["user", "U-99999"]
    for name, frame in tables.items():
        frame.to_csv(source / f"{name}.csv", index=False)
    (tmp_path / "settings.yaml").write_text(SETTINGS + "policy: {orphans: 'null'}\n")
    places = ["--source", str(source), "--target", str(tmp_path / "twin"), "--workspace", str(work), "--schema", str(keys)]
    code = synth(monkeypatch, "run", *places, "--config", str(tmp_path / "settings.yaml"))
    shown = capsys.readouterr()
    assert code in (0, None), shown.err
    twin = {name: pd.read_parquet(tmp_path / "twin" / f"{name}.parquet") for name in tables}
    assert orphans(twin) == 0
    validation = json.loads((work / "manifests" / "validate.json").read_text())["facts"]
    assert validation["checks"]["polymorphic reference"] == 2
    page = (work / "synthetic" / "report" / "index.html").read_text()
    assert "about_id → posts (id) where about_type is post" in page and "comments.about_id[post]-&gt;posts" in page
    assert "comments: 1 orphans in comments.about_type+about_id" in page
    synth(monkeypatch, "reflect", "--source", str(source), "--workspace", str(tmp_path / "other"), "--schema", str(keys))
    assert "to what about_type says: posts.id (post)" in capsys.readouterr().out
