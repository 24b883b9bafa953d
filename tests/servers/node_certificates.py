"""An authority over nodes, as a control plane has it, and what nodes show to each other.

proofs = Proofs(tmp_path / "proofs")
TcpPieceServer(…, node="parent", security=proofs.security("parent"))
"""

from __future__ import annotations

import time
from pathlib import Path

from modeldist.transfer.base import OnClosed, OnHave
from modeldist.transfer.tcp import TcpTransport
from modeldist.transfer.tcp.parent import TcpPeerConnection
from modeldist.transfer.tls.authority import Authority, new_authority
from modeldist.transfer.tls.mode import PieceTls
from modeldist.transfer.tls.requests import new_request
from modeldist.transfer.tls.security import Contexts, PieceSecurity, contexts


class Proofs:
    """`ago`: seconds before now at which certificates are issued."""

    def __init__(self, folder: Path, *, ago: float = 0.0) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._authority = Authority(new_authority("the tests"), lambda: time.time() - ago)
        self.authority = folder / "authority.pem"
        self.authority.write_bytes(self._authority.certificate)

    def pair(self, node: str, lifetime: float = 3600.0) -> Path:
        """A fresh key and certificate."""
        key, request = new_request()
        path = self._folder / f"{node}.pem"
        path.write_bytes(key + self._authority.certify(request.decode(), node, lifetime))
        return path

    def contexts(self, node: str, lifetime: float = 3600.0, *, trusting: Proofs | None = None) -> Contexts:
        return contexts(self.pair(node, lifetime), (trusting or self).authority)

    def security(self, node: str, mode: PieceTls = "require") -> PieceSecurity:
        return PieceSecurity(mode, self.contexts(node))


class ProvenTransport:
    """A transport of any child, each with a certificate of its own, to parents that are `parent`."""

    def __init__(self, proofs: Proofs) -> None:
        self._proofs = proofs

    async def connect(
        self, address: str, *, child: str, on_have: OnHave, on_closed: OnClosed, parent: str = "parent"
    ) -> TcpPeerConnection:
        transport = TcpTransport(security=self._proofs.security(child))
        return await transport.connect(address, child=child, parent=parent, on_have=on_have, on_closed=on_closed)
