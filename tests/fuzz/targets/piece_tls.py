"""TLS between nodes, around the piece protocol: records from nobody, records that were changed on their way, and frames
of any bytes from a node that is who it says.

The first byte of an input says which of these it is. The other side either is heard, or TLS ends with its own error.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from modeldist.transfer import frames
from modeldist.transfer.frame_reader import FrameReader
from modeldist.transfer.tcp.tls_socket import NoTls, TlsChannel
from modeldist.transfer.tls.security import Contexts
from tests.fuzz.target import Target
from tests.fuzz.targets.piece_frames import OF_A_CHILD, OF_A_PARENT
from tests.fuzz.targets.piece_frames import check as check_frames
from tests.servers.node_certificates import Proofs

TO_A_PARENT, TO_A_CHILD, CHANGED, PROVEN = range(4)


@cache
def nodes() -> tuple[Contexts, Contexts]:
    """A parent's and a child's."""
    with tempfile.TemporaryDirectory() as home:
        proofs = Proofs(Path(home) / "proofs")
        return proofs.contexts("a" * 32), proofs.contexts("b" * 32)


def _pair() -> tuple[TlsChannel, TlsChannel]:
    """A parent and a child that have shaken hands."""
    parent, child = TlsChannel(nodes()[0].parent, as_parent=True), TlsChannel(nodes()[1].child, as_parent=False)
    child.hear(b"")
    while not (parent.peer and child.peer):
        parent.hear(child.words())
        child.hear(parent.words())
    return parent, child


def seeds() -> Iterator[bytes]:
    child = TlsChannel(nodes()[1].child, as_parent=False)
    child.hear(b"")
    hello = child.words()
    yield bytes([TO_A_PARENT]) + hello
    parent = TlsChannel(nodes()[0].parent, as_parent=True)
    parent.hear(hello)
    yield bytes([TO_A_CHILD]) + parent.words()
    yield bytes([CHANGED]) + b"\x00\x10\xff" * 4
    yield bytes([PROVEN]) + frames.MAGIC + b"".join(map(frames.encode, OF_A_CHILD))
    yield bytes([PROVEN]) + frames.MAGIC + b"".join(map(frames.encode, OF_A_PARENT))


def check(data: bytes) -> None:
    kind, data = (data[0] % 4 if data else 0), data[1:]
    if kind in (TO_A_PARENT, TO_A_CHILD):
        as_parent = kind == TO_A_PARENT
        context = nodes()[0].parent if as_parent else nodes()[1].child
        channel = TlsChannel(context, as_parent=as_parent)
        with suppress(ssl.SSLError, NoTls):
            if not as_parent:
                channel.hear(b"")
            channel.hear(data)
        assert not channel.peer
        channel.words()
    elif kind == CHANGED:
        _check_changed(data)
    else:
        parent, child = _pair()
        _, sealed = child.say(memoryview(data)) if data else (0, b"")
        said = parent.hear(bytes(sealed)) if sealed else b""
        assert said == data
        check_frames(said)


def _check_changed(data: bytes) -> None:
    """Records with bytes of `data` in them: nothing is heard of the first that is not as it was sent."""
    parent, child = _pair()
    _, sealed = child.say(memoryview(frames.MAGIC + frames.encode(frames.Ping(1))))
    at = data[0] % len(sealed) if data else 0
    changed = bytes(sealed[:at]) + data[1:] + bytes(sealed[at + len(data[1:]) :])
    try:
        said = parent.hear(changed)
    except ssl.SSLError:
        return
    if changed[: len(sealed)] != bytes(sealed):
        assert not said
    FrameReader().receive(said)


WORDS = (
    b"\x16\x03\x01",
    b"\x15\x03\x03\x00\x02",
    b"\x17\x03\x03",
    b"\x14\x03\x03\x00\x01\x01",
    b"\x03\x04",
    b"\x00\x2b",
)
TARGET = Target("piece_tls", check, seeds, WORDS, longest=2500, beside=True)
