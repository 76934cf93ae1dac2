"""A PostgreSQL server for tests: the one that is there, or a private one from the programs that are installed.

python tests/postgres_server.py start FOLDER    prints the URL of a server that runs until
python tests/postgres_server.py stop FOLDER
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEFAULT_URL = "postgresql://postgres@127.0.0.1:5432/test"
VARIABLE = "SYNTH_TEST_POSTGRES"


class NoServer(Exception):
    """No server answers, and none can be started; says why."""


def is_reachable(url: str) -> bool:
    """Whether a connection to the server can be opened."""
    import psycopg

    try:
        psycopg.connect(url.replace("+psycopg", ""), connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def find_programs() -> Path:
    """The folder that holds `initdb` and `pg_ctl`, the newest if there are several. Raises `NoServer`."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name) if p.parent.name.isdigit() else 0)
    on_path = shutil.which("pg_ctl")
    folders = [*reversed(installed), *([Path(on_path).resolve().parent] if on_path else [])]
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise NoServer(
        f"no PostgreSQL answers at {DEFAULT_URL}, and initdb and pg_ctl are not installed (set {VARIABLE}, or install postgresql)"
    )


def start(folder: Path) -> str:
    """Start a server of its own with its data in `folder` and return its URL; everybody on this machine is trusted."""
    programs = find_programs()
    folder.mkdir(parents=True, exist_ok=True)
    account = _account()
    if account is not None:
        shutil.chown(folder, account)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, log = str(folder / "data"), str(folder / "log")
    _call(account, programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    _call(account, programs / "pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def stop(folder: Path) -> None:
    """Stop the server that `start` started in this folder."""
    _call(_account(), find_programs() / "pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop")


@contextmanager
def some_server() -> Iterator[str]:
    """The URL of a server: named by SYNTH_TEST_POSTGRES, the local default, or a private one. Raises `NoServer`."""
    wanted = os.environ.get(VARIABLE)
    if wanted or is_reachable(DEFAULT_URL):
        yield wanted or DEFAULT_URL
        return
    folder = Path(tempfile.mkdtemp(prefix="synth-postgres-"))
    folder.chmod(0o755)
    try:
        url = start(folder)
        try:
            yield url
        finally:
            stop(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account() -> str | None:
    """The server refuses to run as root: the account it runs as instead, None for our own."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _call(account: str | None, program: Path, *arguments: str) -> None:
    # the server keeps its parent's output open, so it must not be a pipe that is read to its end
    with tempfile.TemporaryFile() as output:
        done = subprocess.run([str(program), *arguments], user=account, cwd="/", stdout=output, stderr=output, check=False)
        if done.returncode:
            output.seek(0)
            raise NoServer(f"{program.name} failed: {output.read().decode(errors='replace').strip()[-500:]}")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        sys.exit(__doc__)
    if sys.argv[1] == "start":
        print(start(Path(sys.argv[2]).resolve()))
    else:
        stop(Path(sys.argv[2]).resolve())
