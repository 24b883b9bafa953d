"""`python -m modeldist.transfer.bench`: the TCP transport beside a bare sendfile→splice pair, over loopback.

Sender and receiver are two processes, for both contenders; runs alternate, medians are printed. CPU is user + system
time of both processes over the transfer. No digests, no agent: what is measured is what the protocol and its threads
cost. The target file is overwritten, so that allocating its pages costs neither; `--directory` decides where it is (a
tmpfs leaves the disk out of it).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import multiprocessing
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import MIB, PieceLayout, PieceSet, piece_size_for
from modeldist.transfer.base import Into, OnVerified, Outcome, Received
from modeldist.transfer.tcp import TcpPieceServer, TcpTransport
from modeldist.transfer.tls.authority import Authority, new_authority
from modeldist.transfer.tls.requests import new_request
from modeldist.transfer.tls.security import PieceSecurity, contexts

_SHARD = Digest("sha256:" + "0" * 64)


@dataclass(frozen=True)
class Measured:
    """One transfer: wall and CPU seconds."""

    seconds: float
    cpu: float


class _WholeFile:
    """A complete shard, as a directory of one."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(self.fd).st_size
        self.layout = PieceLayout(size, piece_size_for(size))

    def have(self) -> PieceSet:
        return self.layout.all

    def close(self) -> None:
        """Stays open for the next child."""

    def open(self, _shard: Digest) -> _WholeFile:
        return self

    def watch(self, _shard: Digest, _on_have: OnVerified) -> Callable[[], None]:
        return lambda: None


# --- senders, each in a process of its own: tell the address, then the CPU time, when told to stop ---


def _serve_pieces(path: Path, pipe: Connection, proofs: Path | None = None) -> None:
    server = TcpPieceServer(
        _WholeFile(path), host="127.0.0.1", check=lambda *_: True, node="parent", security=_security(proofs, "parent")
    )
    _report(pipe, server.address)
    server.close()


def _serve_bare(path: Path, pipe: Connection) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def send() -> None:
        sock, _ = listener.accept()
        with sock, path.open("rb") as file:
            position, size = 0, os.fstat(file.fileno()).st_size
            while position < size:
                position += os.sendfile(sock.fileno(), file.fileno(), position, min(MIB, size - position))

    thread = threading.Thread(target=send)
    thread.start()
    _report(pipe, f"127.0.0.1:{listener.getsockname()[1]}")
    thread.join()
    listener.close()


def _report(pipe: Connection, address: str) -> None:
    before = time.process_time()
    pipe.send(address)
    pipe.recv()
    pipe.send(time.process_time() - before)


@contextlib.contextmanager
def _sender(serve: Callable[[Path, Connection], None], path: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """(address, a function that stops the sender and returns its CPU seconds)."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(path, theirs))
    process.start()

    def stop() -> float:
        ours.send("stop")
        return float(ours.recv())

    try:
        yield ours.recv(), stop
    finally:
        process.join()
        ours.close()
        theirs.close()


# --- receivers ---


def _measure(
    serve: Callable[[Path, Connection], None], receive: Callable[[str, int, int], None], path: Path, into: Path
) -> Measured:
    size = path.stat().st_size
    target = os.open(into, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        os.truncate(target, size)
        with _sender(serve, path) as (address, stop):
            cpu, wall = time.process_time(), time.perf_counter()
            receive(address, target, size)
            seconds = time.perf_counter() - wall
            return Measured(seconds, time.process_time() - cpu + stop())
    finally:
        os.close(target)


def _receive_bare(address: str, target: int, size: int) -> None:
    host, _, port = address.rpartition(":")
    source, sink = os.pipe()
    fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, MIB)
    with socket.create_connection((host, int(port))) as sock:
        position = 0
        while position < size:
            count = os.splice(sock.fileno(), sink, MIB)
            while count:
                moved = os.splice(source, target, count, offset_dst=position)
                position += moved
                count -= moved
    os.close(source)
    os.close(sink)


def _receive_pieces(address: str, target: int, size: int, proofs: Path | None = None) -> None:
    asyncio.run(_fetch_all(address, target, PieceLayout(size, piece_size_for(size)), _security(proofs, "child")))


async def _fetch_all(
    address: str, target: int, layout: PieceLayout, security: PieceSecurity, in_flight: int = 32 * MIB
) -> None:
    connection = await TcpTransport(security=security).connect(
        address, child="child", parent="parent", on_have=lambda *_: None, on_closed=lambda _: None
    )
    connection.subscribe(_SHARD, b"")
    done = threading.Event()
    pending = iter(range(layout.count))
    left = layout.count

    def ask() -> None:
        for piece in pending:
            start = layout.offset(piece)
            connection.fetch(_SHARD, start, layout.length(piece), Into(target, start), arrived)
            return

    def arrived(outcome: Outcome) -> None:
        nonlocal left
        if not isinstance(outcome, Received):
            raise SystemExit(f"the transfer failed: {outcome}")
        left -= 1
        if left:
            ask()
        else:
            done.set()

    for _ in range(max(1, in_flight // layout.piece_size)):
        ask()
    await asyncio.to_thread(done.wait)
    connection.close()


def bare_pair(path: Path, target: Path, *, new: bool) -> tuple[float, float]:
    """Move `path` to `target` by a bare pair and remove it again; wall and CPU seconds. `new`: the kernel has to
    allocate the target's pages, as for any download; else a file is overwritten that was made for it."""
    try:
        if not new:
            _measure(_serve_bare, _receive_bare, path, target)
        measured = _measure(_serve_bare, _receive_bare, path, target)
    finally:
        target.unlink(missing_ok=True)
    return measured.seconds, measured.cpu


Contender = tuple[Callable[[Path, Connection], None], Callable[[str, int, int], None]]
"""What the sending process does, and what the receiving one does."""

TLS = "piece protocol, TLS"

_CONTENDERS: dict[str, Contender] = {
    "bare pair": (_serve_bare, _receive_bare),
    "piece protocol": (_serve_pieces, _receive_pieces),
}


def transfers(path: Path, target: Path, proofs: Path | None = None) -> dict[str, Callable[[], tuple[float, float]]]:
    """By name: move `path` over `target` once; wall and CPU seconds. With `proofs`, a folder to make, also by TLS."""

    def move(contender: Contender) -> tuple[float, float]:
        measured = _measure(*contender, path, target)
        return measured.seconds, measured.cpu

    contenders = dict(_CONTENDERS)
    if proofs is not None:
        _prove(proofs)
        contenders[TLS] = partial(_serve_pieces, proofs=proofs), partial(_receive_pieces, proofs=proofs)
    return {name: partial(move, contender) for name, contender in contenders.items()}


def _prove(folder: Path) -> None:
    """What `parent` and `child` show to each other."""
    authority = Authority(new_authority("a benchmark"), time.time)
    folder.mkdir(mode=0o700)
    (folder / "authority.pem").write_bytes(authority.certificate)
    for node in ("parent", "child"):
        key, request = new_request()
        (folder / f"{node}.pem").write_bytes(key + authority.certify(request.decode(), node, 24 * 3600.0))


def _security(proofs: Path | None, node: str) -> PieceSecurity:
    if proofs is None:
        return PieceSecurity()
    return PieceSecurity("require", contexts(proofs / f"{node}.pem", proofs / "authority.pem"))


# --- the command ---


def compare(directory: Path, size: int, repeat: int) -> dict[str, Measured]:
    """Medians per contender, runs alternating."""
    path = directory / "shard"
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for position in range(0, size, MIB):
            file.write(block[: size - position])
    runs: dict[str, list[Measured]] = {name: [] for name in _CONTENDERS}
    into = directory / "received"
    _measure(_serve_bare, _receive_bare, path, into)  # the target's pages are allocated here, not in a contender's time
    for _ in range(repeat):
        for name, (serve, receive) in _CONTENDERS.items():
            runs[name].append(_measure(serve, receive, path, into))
    return {
        name: Measured(statistics.median(r.seconds for r in found), statistics.median(r.cpu for r in found))
        for name, found in runs.items()
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m modeldist.transfer.bench", description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="MiB to transfer")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where the files are made; default: a temporary directory")
    options = parser.parse_args(arguments)
    size = options.size * MIB
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        found = compare(Path(directory), size, options.repeat)
    bare, ours = found["bare pair"], found["piece protocol"]
    for name, measured in found.items():
        print(f"{name:16} {size / measured.seconds / 1e9:6.2f} GB/s   {measured.cpu / size * 1e9:6.3f} CPU s/GB")
    print(f"{'ratio':16} {bare.seconds / ours.seconds:6.2f}        {ours.cpu / bare.cpu:6.2f}")


if __name__ == "__main__":
    main()
