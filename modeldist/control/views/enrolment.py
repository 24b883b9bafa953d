"""What a node gets when it enrols, and later."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CertificateView:
    """A node's certificate, and the authority whose certificates nodes take from each other (PEM)."""

    certificate: str
    authority: str


@dataclass(frozen=True)
class EnrolmentView:
    """What a node has from now on: its id, the token for its sessions, and as in CertificateView."""

    node: str
    token: str
    certificate: str
    authority: str

    def __repr__(self) -> str:
        return f"EnrolmentView(node={self.node!r}, token=…)"
