"""The workspace: the folder or bucket prefix that holds one run, and the only module that spells its paths.

    real/        schema.json, snapshot/<table>/part-*.parquet, model/…      must never leave
    synthetic/   tables/<table>/part-*.parquet, validation/, report/         what may leave
    manifests/   <step>.json                                                  written last, atomically

A step is done when its manifest is there, was made with the same settings and read the manifests that are there
now. Files are trusted only after their sha256 was compared with the manifest. On a disk one process at a time works in
a workspace.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import fsspec
from fsspec.implementations.local import LocalFileSystem

from synth_engine.errors import ConfigurationError, CorruptArtefact, Terminal, Transient

_LOG = logging.getLogger(__name__)

STEPS = ("reflect", "extract", "train", "generate", "load", "validate", "publish", "report")
"""The steps of a run in order; also the names of their manifests."""

VERSIONED = ("airflow-provider-synth", "torch", "lightgbm", "pyarrow", "numpy", "pandas")


@dataclass(frozen=True)
class FileEntry:
    """One file of a step: path relative to the workspace, sha256 in hex, size in bytes, rows if it is a table part."""

    path: str
    sha256: str
    size: int
    rows: int | None = None


@dataclass(frozen=True)
class Manifest:
    """What a finished step left. `inputs` maps the steps it read to the digests of their manifests; `facts` holds
    the step's own small JSON results (counts, figures, seconds), never a value of a real row."""

    step: str
    config_hash: str
    fingerprint: str
    seed: int
    inputs: dict[str, str] = field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Raises `ValueError` if it is not what a step wrote."""
        try:
            raw = json.loads(text)
            raw["files"] = tuple(FileEntry(**entry) for entry in raw["files"])
            return cls(**raw)
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None

    def digest(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class Workspace:
    """One run's folder, on a local disk or any store fsspec knows (`s3://…`, `gs://…`, `memory://…`).

    `finished_now` names the steps that were finished through this object; all others were done before.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.uri)
        except (ValueError, ImportError) as error:
            rule = "The workspace must be a folder, or on a store that fsspec knows and whose package is installed"
            raise Terminal(rule, value=str(error), advice="correct its URI, or install the package") from None
        self.finished_now: set[str] = set()
        self._is_held = False

    # -- paths, relative to the root -----------------------------------------------------------------------------

    schema = "real/schema.json"
    profile = "real/profile.json"
    model = "real/model"
    categories = "real/model/categories.json"
    validation = "synthetic/validation"
    report = "synthetic/report/index.html"
    scores = "synthetic/report/scores.json"
    lock = ".lock"

    @staticmethod
    def snapshot(table: str) -> str:
        return f"real/snapshot/{_safe(table)}"

    @staticmethod
    def synthetic(table: str) -> str:
        return f"synthetic/tables/{_safe(table)}"

    @staticmethod
    def held_out(table: str) -> str:
        return f"real/model/held-out/{_safe(table)}.parquet"

    @staticmethod
    def skeleton(table: str) -> str:
        return f"real/model/links/{_safe(table)}.parquet"

    @staticmethod
    def part(folder: str, index: int) -> str:
        return f"{folder}/part-{index:05d}.parquet"

    # -- files -----------------------------------------------------------------------------------------------------

    def full(self, path: str) -> str:
        """The path as the underlying file system spells it."""
        return f"{self._root}/{path}"

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(self.full(path)))

    def parts(self, folder: str) -> list[str]:
        """The Parquet parts of a table folder, in order, relative to the root."""
        if not self.exists(folder):
            return []
        names = sorted(str(p).rsplit("/", 1)[-1] for p in self._fs.ls(self.full(folder), detail=False))
        return [f"{folder}/{name}" for name in names if name.endswith(".parquet")]

    @contextlib.contextmanager
    def open(self, path: str, mode: str = "rb") -> Iterator[IO[Any]]:
        """Open a file for reading, or for writing in a folder that is made if need be."""
        with self._as_advice() if "w" in mode else contextlib.nullcontext():
            if "w" in mode:
                self._fs.makedirs(self.full(path).rsplit("/", 1)[0], exist_ok=True)
            stream = self._fs.open(self.full(path), mode)
        with stream:
            yield stream

    def read_bytes(self, path: str) -> bytes:
        with self.open(path) as stream:
            return bytes(stream.read())

    def write_bytes(self, path: str, content: bytes) -> None:
        with self.open(path, "wb") as stream:
            stream.write(content)

    def read_json(self, path: str) -> Any:
        return json.loads(self.read_bytes(path))

    def write_json(self, path: str, content: Any) -> None:
        self.write_bytes(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())

    def clear(self, path: str) -> None:
        """Remove a file or folder if it is there: what an interrupted attempt left."""
        if self.exists(path):
            self._fs.rm(self.full(path), recursive=True)

    def describe(self, path: str, rows: int | None = None) -> FileEntry:
        """Hash a file for the manifest."""
        digest, size = hashlib.sha256(), 0
        with self.open(path) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
        return FileEntry(path, digest.hexdigest(), size, rows)

    def describe_folder(self, folder: str) -> tuple[FileEntry, ...]:
        """Hash every file below a folder, in path order."""
        root = self.full("")
        found = sorted(str(p) for p in self._fs.find(self.full(folder)))
        return tuple(self.describe(p[p.index(root) + len(root) :]) for p in found)

    # -- manifests ---------------------------------------------------------------------------------------------------

    def manifest_path(self, step: str) -> str:
        return f"manifests/{step}.json"

    def manifest(self, step: str) -> Manifest | None:
        """The manifest of a step, or None if the step has not finished."""
        path = self.manifest_path(step)
        if not self.exists(path):
            return None
        try:
            return Manifest.from_json(self.read_bytes(path).decode())
        except ValueError:
            raise CorruptArtefact(
                f"A manifest must be the one that step {step!r} wrote",
                value=f"{path} cannot be read so",
                advice=f"restore the file, or remove {path} and run the step again",
            ) from None

    def require(self, step: str) -> Manifest:
        """The manifest of a step that must have finished. Raises `Terminal` if it has not."""
        found = self.manifest(step)
        if found is None:
            raise Terminal(
                f"Step {step!r} must have finished in this workspace",
                value=f"no manifest of it in {self.uri}",
                advice=f"run {step!r} first",
            )
        return found

    def verify(self, manifest: Manifest) -> None:
        """Compare every file of a manifest with its sha256. Raises `CorruptArtefact` naming the first that differs."""
        for entry in manifest.files:
            if not self.exists(entry.path):
                raise CorruptArtefact(
                    f"Step {manifest.step!r} left a file that must be there",
                    value=f"{entry.path} is missing",
                    advice=f"remove manifests/{manifest.step}.json and run the step again",
                )
            if self.describe(entry.path).sha256 != entry.sha256:
                raise CorruptArtefact(
                    f"A file must be the one step {manifest.step!r} wrote",
                    value=f"{entry.path} has another sha256 than its manifest",
                    advice=f"restore the file, or remove manifests/{manifest.step}.json and run the step again",
                )

    def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest, aside and then renamed into place: from here on the step has happened."""
        final = self.full(self.manifest_path(manifest.step))
        self.write_bytes(self.manifest_path(manifest.step) + ".tmp", manifest.to_json().encode())
        self._fs.mv(final + ".tmp", final)
        self.finished_now.add(manifest.step)
        return manifest

    # -- one process at a time -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out; within, it can be asked for again. Raises `Transient` naming the process that is in.

        The system gives the lock back when a process ends, however it ends: none is ever stale. Object stores have no
        such lock, so there nobody is kept out.
        """
        if self._is_held or not isinstance(self._fs, LocalFileSystem):
            yield
            return
        with self._as_advice():
            os.makedirs(self._root, exist_ok=True)
            stream = open(self.full(self.lock), "a+", encoding="utf-8")  # noqa: SIM115 - closed below, which unlocks it
        with stream:
            self._take(stream)
            self._is_held = True
            try:
                yield
            finally:
                self._is_held = False

    def _take(self, stream: IO[str]) -> None:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise Transient(
                "One process at a time may work in a workspace",
                value=f"{self.uri} is in use by {stream.read() or 'another process'}",
                advice="wait until it has ended, or give this run a workspace of its own",
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            _LOG.warning("The file system of %s has no locks: see to it that one process at a time works in it", self.uri)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        stream.flush()

    def keep_out_of(self, folder: str) -> None:
        """Raise `ConfigurationError` if the workspace is this folder or lies in it: real rows must not stand among what is
        delivered. Locations of databases are no folders, and pass."""
        root, place = Path(self._root).resolve(), Path(folder).resolve()
        if isinstance(self._fs, LocalFileSystem) and root.is_relative_to(place):
            raise ConfigurationError(
                [f"workspace: must not lie in the target, for it holds real rows. Found: {self.uri}. Next step: choose another folder"]
            )

    @contextlib.contextmanager
    def _as_advice(self) -> Iterator[None]:
        """What the file system says against writing, as an error with a next step."""
        try:
            yield
        except OSError as error:
            raise Terminal(
                "The workspace must be a place that can be written",
                value=f"{self.uri}: {error.strerror or error}",
                advice="correct its path or its rights",
            ) from None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the result."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _safe(table: str) -> str:
    """A file name for any table name."""
    return quote(table, safe=" -_").replace(".", "%2E") or "%00"
