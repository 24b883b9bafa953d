"""What a node asks of connections between nodes now, and shows to them: shared by its server and its transport.

Both may change while connections are open, which keep what they began with: a certificate is renewed, the cluster
begins to require TLS.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from modeldist.transfer.tls.mode import PieceTls


@dataclass(frozen=True)
class Contexts:
    """How this node begins TLS as a child, and how it answers as a parent."""

    child: ssl.SSLContext
    parent: ssl.SSLContext


def contexts(identity: Path, authority: Path) -> Contexts:
    """`identity`: a PEM file with a node's key and its certificate; `authority`: one with what it trusts. Raises
    OSError (ssl.SSLError is one) where they cannot be used."""
    return Contexts(
        _context(ssl.PROTOCOL_TLS_CLIENT, identity, authority),
        _context(ssl.PROTOCOL_TLS_SERVER, identity, authority),
    )


def _context(protocol: int, identity: Path, authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # it is the node's id that is checked, by `names.node_of`
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)
    context.load_cert_chain(identity)
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # a session that is resumed would not be checked anew
    return context


@dataclass(frozen=True)
class _Now:
    mode: PieceTls = "off"
    contexts: Contexts | None = None


class PieceSecurity:
    """Read from many threads, changed from one; each change is seen whole."""

    def __init__(self, mode: PieceTls = "off", contexts: Contexts | None = None) -> None:
        self._now = _Now(mode, contexts)

    @property
    def mode(self) -> PieceTls:
        return self._now.mode

    @property
    def required(self) -> bool:
        return self._now.mode == "require"

    @property
    def contexts(self) -> Contexts | None:
        """None where TLS is off, or this node has no certificate."""
        now = self._now
        return None if now.mode == "off" else now.contexts

    def change(self, mode: PieceTls) -> None:
        self._now = _Now(mode, self._now.contexts)

    def show(self, contexts: Contexts | None) -> None:
        """From now on, to whoever connects."""
        self._now = _Now(self._now.mode, contexts)
