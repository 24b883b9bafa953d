"""kill -9 of a mount: every kind of reader gets EIO, who was waiting and who comes later, until it is mounted again."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial as bind
from pathlib import Path

import pytest

from modeldist.mount.last_answers import LastAnswers
from tests.integration.mount.mounts import MIB, Mount, Shell, needs_fuse
from tests.integration.mount.test_mounted_models import content
from tests.servers.cluster import PATIENCE, wait_until
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault

pytestmark = needs_fuse

NAME = "model.safetensors"
FAR = 20 * MIB  # what is there does not come
_PIDFD_GETFD = 438  # system call, on every architecture
_READS = frozenset({17, 327, 67, 286})  # pread and preadv2, on x86-64 and on ARM
COPIED = 180.0  # seconds: network namespaces that tests beside these make have a copy of each mount until they end
_MAPPED = """
import mmap, os, sys
mapped = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
print(mapped[0], flush=True)
mapped[int(sys.argv[2])]
"""


def read(fd: int, at: int) -> bytes:
    return os.pread(fd, 64 << 10, at)


def read_directly(fd: int, at: int) -> int:
    """Into a page of its own, as O_DIRECT wants it."""
    with mmap.mmap(-1, 64 << 10) as page:
        return os.preadv(fd, [page], at)


def number_of(call: Callable[[], object]) -> int | None:
    """The error that a call fails of."""
    try:
        call()
    except OSError as error:
        return error.errno
    return None


class Reader(threading.Thread):
    """Of bytes that do not come. `number`: the error that it got, at last."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.number: int | None = None
        self.start()

    def run(self) -> None:
        self.number = number_of(self._call)

    def waits(self) -> bool:
        return call_of(os.getpid(), self.native_id) in _READS

    def ended(self) -> int | None:
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.number


def call_of(process: int, thread: int | None) -> int | None:
    """The system call in which a thread waits; -1 where it waits for a page, None while it runs."""
    found = Path(f"/proc/{process}/task/{thread}/syscall").read_text().split()[0]
    return None if found == "running" else int(found)


@contextmanager
def mounted(hub: Hub, shell: Shell, gate: threading.Event, name: str) -> Iterator[tuple[Mount, bytes]]:
    """Of a model of which a little comes before the gate is open: the node's streams all hang then."""
    body = content(name, 24 * MIB)
    hub.commit(f"org/{name}", {NAME: body})
    hub.fail(Fault(path=NAME, method="GET", hold_at=3 * MIB, times=99, until=gate))
    with shell.mounted(f"hf://org/{name}", "--no-direct") as mount:
        yield mount, body


def test_every_reader_of_a_killed_mount_gets_eio(hub: Hub, shell: Shell, gate: threading.Event) -> None:
    with mounted(hub, shell, gate, "killed-kinds") as (mount, body):
        path = mount.directory / NAME
        buffered, direct = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY | os.O_DIRECT)
        assert read(buffered, 0) == body[: 64 << 10]
        mapped = subprocess.Popen([sys.executable, "-c", _MAPPED, path, str(FAR)], stdout=subprocess.PIPE)
        assert mapped.stdout is not None
        with mapped.stdout:
            assert mapped.stdout.readline()
            before = [
                Reader(lambda: read(buffered, FAR + MIB)),
                Reader(lambda: read_directly(direct, FAR + 2 * MIB)),
            ]
            wait_until("them to wait", lambda: all(each.waits() for each in before))
            wait_until("a page to be waited for", lambda: call_of(mapped.pid, mapped.pid) == -1)
            mount.process.kill()
            assert [each.ended() for each in before] == [errno.EIO, errno.EIO]
            assert mapped.wait(PATIENCE) == -signal.SIGBUS
        assert number_of(lambda: read(buffered, FAR + 3 * MIB)) == errno.EIO
        assert number_of(lambda: read_directly(direct, 0)) == errno.EIO
        assert number_of(lambda: os.open(path, os.O_RDONLY)) == errno.EIO
        assert number_of(lambda: list(mount.directory.iterdir())) == errno.EIO
        assert number_of(lambda: os.statvfs(mount.directory)) == errno.EIO
        assert read(buffered, 0) == body[: 64 << 10], "what the kernel has of it can still be read"
        os.close(buffered)
        os.close(direct)
        gate.set()
        with shell.mounted("hf://org/killed-kinds") as again:
            assert "was killed" in again.said
            assert path.read_bytes() == body
        wait_until("nothing of either to be left", lambda: not last_answers(mount), seconds=COPIED)


def test_a_killed_mount_can_be_unmounted(hub: Hub, shell: Shell, gate: threading.Event) -> None:
    with mounted(hub, shell, gate, "killed-unmounted") as (mount, _):
        mount.process.kill()
        mount.process.wait()
        (left,) = last_answers(mount)
        done = shell.run("unmount", str(mount.directory))
        assert (done.returncode, done.stderr) == (0, "")
        assert mount.types == []
        wait_until("nothing of it to be left", lambda: not Path(f"/proc/{left}").exists(), seconds=COPIED)


@pytest.mark.parametrize("resend", [True, False], ids=["asked-again", "swept"])
def test_who_waited_is_told_on_kernels_that_ask_again_and_on_older_ones(
    hub: Hub, shell: Shell, gate: threading.Event, resend: bool
) -> None:
    with (
        mounted(hub, shell, gate, f"killed-resend-{resend}") as (mount, _),
        ThreadPoolExecutor() as pool,
        taken_over(mount) as device,
    ):
        fd = os.open(mount.directory / NAME, os.O_RDONLY | os.O_DIRECT)
        reading = [Reader(bind(read_directly, fd, FAR + at * MIB)) for at in range(3)]
        wait_until("all to wait", lambda: all(each.waits() for each in reading))
        mount.process.kill()
        mount.process.wait()
        answering: Future[None] = pool.submit(LastAnswers(device, str(mount.directory), resend=resend).give)
        assert [each.ended() for each in reading] == [errno.EIO] * len(reading)
        os.close(fd)
        assert shell.run("unmount", str(mount.directory)).returncode == 0
        assert isinstance(answering.exception(PATIENCE), OSError)


def last_answers(mount: Mount) -> list[int]:
    """The processes that would answer for this mount."""
    wanted = str(mount.directory).encode()
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.endswith(b"/last_answers.py") for word in words) and wanted in words:
            found.append(int(command.parent.name))
    return found


@contextmanager
def taken_over(mount: Mount) -> Iterator[int]:
    """The mount's connection, in this process instead of the one that would answer for it."""
    wait_until("it to be there", lambda: bool(last_answers(mount)))
    (beside,) = last_answers(mount)
    device = next(
        int(entry.name) for entry in Path(f"/proc/{beside}/fd").iterdir() if entry.readlink() == Path("/dev/fuse")
    )
    process = os.pidfd_open(beside)
    try:
        fd = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, device, 0)
        assert fd >= 0, os.strerror(ctypes.get_errno())
        signal.pidfd_send_signal(process, signal.SIGKILL)
    finally:
        os.close(process)
    try:
        yield fd
    finally:
        os.close(fd)
