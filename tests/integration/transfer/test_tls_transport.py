"""Pieces behind mutual TLS: the transport behaves as in the clear, and neither end takes anybody for another."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from modeldist.transfer import frames
from modeldist.transfer.base import CheckCapability, Lost, Received, ServerLimits
from modeldist.transfer.tcp import ServerTimeouts, TcpPieceServer, TcpTransport
from modeldist.transfer.tcp.parent import TcpPeerConnection
from modeldist.transfer.tls.security import PieceSecurity
from tests.servers.node_certificates import Proofs, ProvenTransport
from tests.servers.recording_proxy import RecordingProxy
from tests.unit.transfer.raw_child import RawChild
from tests.unit.transfer.shelf import GOOD, Child, Shelf, good_capability, until
from tests.unit.transfer.transport_conformance import TransportConformance, World

MIB = 1 << 20


def _threads() -> set[str]:
    names = ("serve", "fetch", "piece", "have-updates")
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(names)}


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


class TestTlsTransport(TransportConformance):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        proofs = Proofs(tmp_path / "proofs")

        def serve(shelf: Shelf, check: CheckCapability, limits: ServerLimits) -> TcpPieceServer:
            return TcpPieceServer(
                shelf, host="127.0.0.1", check=check, limits=limits, node="parent", security=proofs.security("parent")
            )

        before = _descriptors()
        world = World(tmp_path, serve, ProvenTransport(proofs))
        yield world
        await world.end()
        await until(lambda: not _threads())
        await until(lambda: _descriptors() <= before)


Serve = Callable[[PieceSecurity], TcpPieceServer]


@pytest.fixture
def proofs(tmp_path: Path) -> Proofs:
    return Proofs(tmp_path / "proofs")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


@pytest.fixture
def serve(shelf: Shelf) -> Iterator[Serve]:
    servers: list[TcpPieceServer] = []

    def make(security: PieceSecurity) -> TcpPieceServer:
        servers.append(
            TcpPieceServer(
                shelf,
                host="127.0.0.1",
                check=good_capability,
                node="parent",
                security=security,
                timeouts=ServerTimeouts(stall=5.0),
            )
        )
        return servers[-1]

    yield make
    for server in servers:
        server.close()


async def connect(server: TcpPieceServer, security: PieceSecurity, **more: str) -> TcpPeerConnection:
    given = {"child": "child", "parent": "parent", **more}
    transport = TcpTransport(security=security)
    connection = await transport.connect(server.address, on_have=lambda *_: None, on_closed=lambda _: None, **given)
    connection.close()
    return connection


# --- who is who ---


async def test_a_parent_of_another_authority(serve: Serve, proofs: Proofs, tmp_path: Path) -> None:
    others = Proofs(tmp_path / "others")
    with pytest.raises(OSError, match="a certificate that is not trusted here"):
        await connect(serve(others.security("parent")), proofs.security("child"))


async def test_a_child_of_another_authority(serve: Serve, proofs: Proofs, tmp_path: Path) -> None:
    others = Proofs(tmp_path / "others")
    child = PieceSecurity("require", others.contexts("child", trusting=proofs))
    with pytest.raises(OSError, match=r"cannot agree on TLS: .*unknown ca"):
        await connect(serve(proofs.security("parent")), child)


async def test_certificates_that_have_expired(serve: Serve, proofs: Proofs, tmp_path: Path) -> None:
    """Of either end; the authority is the same."""
    old = Proofs(tmp_path / "old", ago=7200.0)
    expired, good = old.contexts("parent", 3600.0), old.contexts("parent", 7200.0 + 600.0)
    with pytest.raises(OSError, match="not trusted here: certificate has expired"):
        await connect(serve(PieceSecurity("require", expired)), old.security("child"))
    with pytest.raises(OSError, match=r"cannot agree on TLS: .*expired"):
        await connect(serve(PieceSecurity("require", good)), PieceSecurity("require", old.contexts("child", 3600.0)))


async def test_a_parent_that_is_another_node(serve: Serve, proofs: Proofs) -> None:
    """With a good certificate of this cluster: it took over the address."""
    with pytest.raises(OSError, match="is node another by its certificate; node parent was expected"):
        await connect(serve(proofs.security("another")), proofs.security("child"))
    with pytest.raises(OSError, match="node nobody was expected"):
        await connect(serve(proofs.security("parent")), proofs.security("child"), parent="")


async def test_a_child_that_says_another_name(serve: Serve, proofs: Proofs) -> None:
    """A capability that was copied is for that other name."""
    with pytest.raises(OSError, match="The certificate is node child's, and the hello says that it is node other"):
        await connect(serve(proofs.security("parent")), proofs.security("child"), child="other")


async def test_a_child_without_a_certificate(serve: Serve, proofs: Proofs) -> None:
    server = serve(proofs.security("parent"))
    with pytest.raises(OSError, match="This node has no certificate"):
        await connect(server, PieceSecurity("require"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(proofs.authority)
    host, _, port = server.address.rpartition(":")
    with (
        socket.create_connection((host, int(port))) as sock,
        context.wrap_socket(sock) as tls,
        pytest.raises(ssl.SSLError, match=r"certificate required|CERTIFICATE_REQUIRED"),
    ):
        tls.sendall(frames.MAGIC + frames.encode(frames.Hello(frames.VERSION, "child")))
        tls.recv(1)


async def test_nothing_older_than_tls_1_3(serve: Serve, proofs: Proofs) -> None:
    server = serve(proofs.security("parent"))
    context = proofs.contexts("child").child
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port))) as sock, pytest.raises(ssl.SSLError, match=r"(?i)version"):
        context.wrap_socket(sock)


# --- in the clear, or not ---


def test_a_child_in_the_clear_is_told_why_it_gets_nothing(serve: Serve, shelf: Shelf, proofs: Proofs) -> None:
    shard = shelf.add(b"secret weights" * 100, 1024)
    child = RawChild(serve(proofs.security("parent"))).hello()
    refused = child.next()
    assert isinstance(refused, frames.HelloRefused) and "requires TLS between nodes" in refused.reason
    child.say(frames.Subscribe(1, shard, GOOD), frames.Request(1, 1, 0, 1024))
    assert b"secret" not in child.rest()
    child.sock.close()


async def test_a_parent_in_the_clear_gets_no_word_where_tls_is_required(serve: Serve, proofs: Proofs) -> None:
    """Whoever is in between can end connections, and that is all."""
    server = serve(PieceSecurity())
    host, _, port = server.address.rpartition(":")
    with RecordingProxy((host, int(port))) as between:
        with pytest.raises(OSError, match="speaks no TLS, which this cluster requires"):
            transport = TcpTransport(security=proofs.security("child"))
            await transport.connect(
                between.address, child="child", parent="parent", on_have=lambda *_: None, on_closed=lambda _: None
            )
        assert frames.MAGIC not in between.seen


@pytest.mark.parametrize("parent", ["off", "prefer", "require"])
@pytest.mark.parametrize("child", ["off", "prefer", "require"])
async def test_a_cluster_on_its_way(
    serve: Serve, shelf: Shelf, proofs: Proofs, tmp_path: Path, parent: str, child: str
) -> None:
    """Every pair of nodes but those of which one requires TLS and the other has it off gets its pieces."""
    shard = shelf.add(os.urandom(MIB), 1 << 16)
    server = serve(proofs.security("parent", parent))  # type: ignore[arg-type]
    host, _, port = server.address.rpartition(":")
    with RecordingProxy((host, int(port))) as between:
        one = Child(tmp_path / "target")
        transport = TcpTransport(security=proofs.security("child", child))  # type: ignore[arg-type]
        if {parent, child} == {"off", "require"}:
            with pytest.raises(OSError, match="TLS"):
                await one.connect(transport, between.address, parent="parent")
        else:
            await one.connect(transport, between.address, parent="parent")
            await one.subscribe(shard)
            assert isinstance(await one.fetch(shard, 0, MIB), Received)
            assert one.target.read_bytes() == shelf.contents[shard]
            in_the_clear = shelf.contents[shard][5000:5064] in between.seen
            assert in_the_clear is ("off" in (parent, child))
            one.close()
        one.release()


async def test_what_is_in_the_clear_ends_when_tls_becomes_required(
    serve: Serve, shelf: Shelf, proofs: Proofs, tmp_path: Path
) -> None:
    shard = shelf.add(os.urandom(4 * MIB), 1 << 16)
    behind, before = proofs.security("parent", "prefer"), PieceSecurity("prefer")
    server = serve(behind)
    plain, secure = Child(tmp_path / "plain"), Child(tmp_path / "secure")
    plain_transport = TcpTransport(security=before)
    await plain.connect(plain_transport, server.address, parent="parent")
    await secure.connect(TcpTransport(security=proofs.security("child")), server.address, parent="parent")
    for each in (plain, secure):
        await each.subscribe(shard)
        assert isinstance(await each.fetch(shard, 0, MIB), Received)
    behind.change("require")
    server.security_changed()
    await until(lambda: plain.closed)
    assert "requires TLS between nodes" in plain.closed[0]
    assert isinstance(await secure.fetch(shard, MIB, MIB), Received)
    assert not secure.closed
    for each in (plain, secure):
        each.close()
        each.release()


async def test_a_child_leaves_parents_in_the_clear_when_tls_becomes_required(
    serve: Serve, shelf: Shelf, proofs: Proofs, tmp_path: Path
) -> None:
    """Of an older release, which knows no better."""
    shard = shelf.add(os.urandom(MIB), 1 << 16)
    child, security = Child(tmp_path / "target"), proofs.security("child", "prefer")
    transport = TcpTransport(security=security)
    await child.connect(transport, serve(PieceSecurity()).address, parent="parent")
    await child.subscribe(shard)
    security.change("require")
    transport.security_changed()
    await until(lambda: child.closed)
    assert isinstance(await child.fetch(shard, 0, MIB), Lost)
    child.release()


# --- renewal, and what goes wrong on the way ---


async def test_certificates_are_renewed_during_a_transfer(
    serve: Serve, shelf: Shelf, proofs: Proofs, tmp_path: Path
) -> None:
    """Both ends', again and again: no connection ends, and new ones show the new certificate."""
    content = os.urandom(MIB) * 32
    shard = shelf.add(content, 1 << 20)
    parents, childs = proofs.security("parent"), proofs.security("child")
    server = serve(parents)
    child = Child(tmp_path / "target")
    transport = TcpTransport(security=childs)
    await child.connect(transport, server.address, parent="parent")
    await child.subscribe(shard)
    for number in range(32):
        child.ask(shard, number * MIB, MIB)
        if number % 4 == 0:
            parents.show(proofs.contexts("parent"))
            childs.show(proofs.contexts("child"))
            await connect(server, childs)
    await child.all_settled()
    assert len(child.received) == 32 and not child.closed
    assert hashlib.sha256(child.target.read_bytes()).digest() == hashlib.sha256(content).digest()
    child.close()
    child.release()


async def test_bytes_that_are_changed_on_their_way_end_the_connection(
    serve: Serve, shelf: Shelf, proofs: Proofs, tmp_path: Path
) -> None:
    shard = shelf.add(os.urandom(MIB), 1 << 20)
    child = Child(tmp_path / "target")
    server = serve(proofs.security("parent"))
    await child.connect(TcpTransport(security=proofs.security("child")), server.address, parent="parent")
    await child.subscribe(shard)
    connection = child.connection
    assert isinstance(connection, TcpPeerConnection)
    below = socket.socket(fileno=os.dup(connection._sock.fileno()))  # what somebody in between could write
    with below:
        below.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert isinstance(await child.fetch(shard, 0, MIB), Lost)
    await until(lambda: child.closed)
    child.release()


async def test_a_child_that_hashes_along(serve: Serve, shelf: Shelf, proofs: Proofs, tmp_path: Path) -> None:
    content = os.urandom(3 * MIB + 17)
    shard = shelf.add(content, MIB)
    child = Child(tmp_path / "target")
    child.hashing = True
    transport = TcpTransport(security=proofs.security("child"), hash_below=float("inf"))
    await child.connect(transport, serve(proofs.security("parent")).address, parent="parent")
    await child.subscribe(shard)
    outcome = await child.fetch(shard, 5, len(content) - 5)
    assert isinstance(outcome, Received) and outcome.hashed
    along = child.hashes[0]
    assert along is not None and along.digest() == hashlib.sha256(content[5:]).digest()
    child.close()
    child.release()


def test_strangers_that_begin_tls_and_stop_go_in_time(shelf: Shelf, proofs: Proofs) -> None:
    server = TcpPieceServer(
        shelf,
        host="127.0.0.1",
        check=good_capability,
        node="parent",
        security=proofs.security("parent"),
        timeouts=ServerTimeouts(hello=0.3),
    )
    try:
        for words in (b"\x16", b"\x16\x03\x01\x02\x00", b"\x16" * 600, b""):
            host, _, port = server.address.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=20) as sock:
                sock.sendall(words)
                while sock.recv(1024):
                    pass
    finally:
        server.close()
