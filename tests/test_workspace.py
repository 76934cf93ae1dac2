"""A workspace holds one run; a step has happened once its manifest stands, and files are trusted only by their hash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from synth_engine.errors import CorruptArtefact, Terminal, Transient
from synth_engine.workspace import Manifest, Workspace, versions

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(params=["disk", "object store"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    if request.param == "disk":
        yield Workspace(str(tmp_path / "run"))
        return
    name = f"run-{uuid4().hex}"
    yield Workspace(f"memory://{name}")
    store = fsspec.filesystem("memory")
    if store.exists(name):
        store.rm(name, recursive=True)


def manifest_of(workspace: Workspace, *paths: str) -> Manifest:
    return Manifest("extract", "c0", "f0", 7, {"reflect": "d0"}, tuple(workspace.describe(p, rows=2) for p in paths), {"rows": {"t": 2}})


def test_a_step_has_happened_once_its_manifest_is_finished(workspace: Workspace) -> None:
    workspace.write_bytes("real/a", b"content")
    manifest = manifest_of(workspace, "real/a")
    assert workspace.manifest("extract") is None
    workspace.finish(manifest)
    assert workspace.manifest("extract") == manifest
    assert not workspace.exists(workspace.manifest_path("extract") + ".tmp")


def test_finishing_again_replaces_the_manifest(workspace: Workspace) -> None:
    workspace.write_bytes("real/a", b"content")
    workspace.finish(manifest_of(workspace, "real/a"))
    workspace.write_bytes("real/a", b"other")
    second = workspace.finish(manifest_of(workspace, "real/a"))
    assert workspace.require("extract") == second


@pytest.mark.parametrize("damaged", ["{", "[]", "{}", '{"files": [{"name": 1}]}', '{"files": []}'])
def test_a_damaged_manifest_is_told_with_what_to_do(workspace: Workspace, damaged: str) -> None:
    workspace.write_bytes(workspace.manifest_path("extract"), damaged.encode())
    with pytest.raises(
        CorruptArtefact, match="the one that step 'extract' wrote.* Next step: restore the file, or remove manifests/extract.json"
    ):
        workspace.manifest("extract")


def test_a_manifest_survives_json_and_keeps_its_digest(workspace: Workspace) -> None:
    workspace.write_bytes("real/a", b"content")
    manifest = manifest_of(workspace, "real/a")
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.digest() == manifest.digest()


def test_a_step_that_is_required_but_did_not_happen_is_named(workspace: Workspace) -> None:
    with pytest.raises(Terminal, match="'train'.*run 'train' first"):
        workspace.require("train")


def test_untouched_files_pass_verification(workspace: Workspace) -> None:
    workspace.write_bytes("real/model/weights", bytes(range(256)))
    workspace.verify(manifest_of(workspace, "real/model/weights"))


def test_a_file_changed_by_one_bit_is_refused(workspace: Workspace) -> None:
    content = bytearray(range(256))
    workspace.write_bytes("real/model/weights", bytes(content))
    manifest = manifest_of(workspace, "real/model/weights")
    content[100] ^= 1
    workspace.write_bytes("real/model/weights", bytes(content))
    with pytest.raises(CorruptArtefact, match="real/model/weights has another sha256"):
        workspace.verify(manifest)


def test_a_missing_file_is_refused(workspace: Workspace) -> None:
    workspace.write_bytes("real/a", b"content")
    manifest = manifest_of(workspace, "real/a")
    workspace.clear("real/a")
    with pytest.raises(CorruptArtefact, match="real/a is missing"):
        workspace.verify(manifest)


def test_a_folder_is_described_file_by_file_in_order_with_paths_from_the_root(workspace: Workspace) -> None:
    for name in ("b", "a/z", "a/y"):
        workspace.write_bytes(f"real/model/{name}", name.encode())
    described = workspace.describe_folder("real/model")
    assert [entry.path for entry in described] == ["real/model/a/y", "real/model/a/z", "real/model/b"]
    assert [entry.size for entry in described] == [3, 3, 1]


def test_parts_of_a_table_are_listed_in_order(workspace: Workspace) -> None:
    folder = workspace.snapshot("orders")
    assert workspace.parts(folder) == []
    paths = [workspace.part(folder, index) for index in (10, 2, 0)]
    for path in paths:
        workspace.write_bytes(path, b"PAR1")
    workspace.write_bytes(f"{folder}/notes.txt", b"")
    assert workspace.parts(folder) == sorted(paths)


# -- one process at a time ---------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from synth_engine.workspace import Workspace

with Workspace(sys.argv[1]).alone():
    print("in", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_has_ended_however_it_ends(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "run"))
    with subprocess.Popen([sys.executable, "-c", HOLDER, workspace.uri], stdout=subprocess.PIPE, cwd=PROJECT) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with (
            pytest.raises(Transient, match=f"is in use by process {first.pid} on .* since 20.* UTC.*a workspace of its own"),
            workspace.alone(),
        ):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
    with workspace.alone(), workspace.alone():
        assert (tmp_path / "run" / workspace.lock).read_text().startswith(f"process {os.getpid()} on ")
    with Workspace(workspace.uri).alone():
        pass


def test_nobody_is_kept_out_of_an_object_store() -> None:
    uri = f"memory://run-{uuid4().hex}"
    with Workspace(uri).alone(), Workspace(uri).alone():
        pass


# -- places that do not serve ------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/nowhere")):
        workspace = Workspace(str(place))
        with pytest.raises(Terminal, match=f"must be a place that can be written. Found: {place}: .*correct its path or its rights"):
            workspace.write_bytes("real/a", b"")
        with pytest.raises(Terminal, match="must be a place that can be written"), workspace.alone():
            pass


def test_a_store_that_is_not_known_is_refused_with_advice() -> None:
    with pytest.raises(Terminal, match="store that fsspec knows.*nowhere.*correct its URI"):
        Workspace("nowhere://run")


# -- tables and files --------------------------------------------------------------------------------------------------

HOSTILE_NAMES = ["plain", "a/b", "../up", ".", "..", "", "a.b", 'qu"ote', "per%cent", "with space", "emoji 🛫", "tab\t", "a" * 60]


def test_any_table_name_is_one_folder_that_can_be_told_from_all_others(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    folders = [workspace.synthetic(name) for name in HOSTILE_NAMES]
    assert len(set(folders)) == len(HOSTILE_NAMES)
    for folder in folders:
        workspace.write_bytes(workspace.part(folder, 0), b"")
        parent = (tmp_path / folder).resolve().parent
        assert parent == (tmp_path / "synthetic" / "tables").resolve()


def test_clearing_what_is_not_there_does_nothing(workspace: Workspace) -> None:
    workspace.clear("real/nothing")


def test_json_is_written_the_same_whatever_the_order_of_its_keys(workspace: Workspace) -> None:
    workspace.write_json("a.json", {"b": 1, "a": [1, None]})
    workspace.write_json("b.json", {"a": [1, None], "b": 1})
    assert workspace.read_bytes("a.json") == workspace.read_bytes("b.json")
    assert workspace.read_json("a.json") == {"a": [1, None], "b": 1}


def test_versions_name_python_and_the_packages_that_decide_the_result() -> None:
    assert {"python", "numpy", "pyarrow"} <= versions().keys()
