"""A private PostgreSQL cluster on a unix socket in a temporary directory, for tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_WITHIN = 60.0  # seconds


def postgres_binaries() -> Path | None:
    """The newest installed server's bin directory; None without one."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name.split(".")[0])
    )
    return found[-1].parent if found else None


class PostgresCluster:
    """`new_database()` gives the URL of an empty database of its own."""

    def __init__(self, binaries: Path, directory: Path, user: str | None) -> None:
        self._binaries = binaries
        self._directory = directory
        self._user = user

    def new_database(self) -> str:
        name = f"t{uuid.uuid4().hex[:12]}"
        self._run("createdb", "-h", str(self._directory), "-U", "postgres", name)
        return f"postgresql://postgres@/{name}?host={self._directory}"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments], check=True, capture_output=True, user=self._user, cwd="/"
        )

    def init(self) -> None:
        self._run("initdb", "-D", str(self._directory / "data"), "-A", "trust", "-U", "postgres", "--no-sync")

    def start(self) -> subprocess.Popen[bytes]:
        options = ["listen_addresses=", f"unix_socket_directories={self._directory}", "fsync=off", "max_connections=50"]
        process = subprocess.Popen(
            [self._binaries / "postgres", "-D", self._directory / "data", *(f"--{option}" for option in options)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
        )
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline and process.poll() is None:
            asked = [self._binaries / "pg_isready", "-U", "postgres", "-h", self._directory, "-q"]
            ready = subprocess.run(asked, check=False, user=self._user, cwd="/")
            if ready.returncode == 0:
                return process
            time.sleep(0.05)
        process.kill()
        process.wait()
        raise RuntimeError("PostgreSQL did not start.")


@contextmanager
def postgres_cluster(binaries: Path) -> Iterator[PostgresCluster]:
    """Started now, stopped and removed at the end. PostgreSQL refuses to run as root, so root becomes `postgres`."""
    user = "postgres" if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(directory, account.pw_uid, account.pw_gid)
        cluster = PostgresCluster(binaries, directory, user)
        cluster.init()
        process = cluster.start()
        try:
            yield cluster
        finally:
            process.send_signal(signal.SIGQUIT)  # at once; the data goes anyway
            process.wait(30)
    finally:
        shutil.rmtree(directory)
