"""The authority over nodes, and the one that takes its place, step by step: pure.

    rotate ──▶ coming: nodes are given both, to trust; the old one certifies
      one overlap later: every certificate that is good was given with both ──▶ leaving: the new one certifies
      one overlap later: no certificate of the old one is good any more ──▶ the new one alone

An overlap is a certificate's lifetime and a little. So at no moment a node shows what another does not trust, and none
has to be told anything: each asks for its next certificate long before.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

_SLACK = 1 / 24  # of a lifetime: an hour of a day


class Authorities(Struct, frozen=True):
    """PEM. `current` certifies, and is a key and its certificate as `coming` is; `leaving` is a certificate. `until`:
    when the next step is due, in the cluster's time; None where nobody has begun to count."""

    current: bytes
    coming: bytes = b""
    leaving: bytes = b""
    until: float | None = None

    def __repr__(self) -> str:
        return f"Authorities({self.step!r}, until={self.until})"

    @property
    def step(self) -> str:
        """coming, leaving; empty where there is one authority and no other."""
        return "coming" if self.coming else "leaving" if self.leaving else ""

    @property
    def trusted(self) -> bytes:
        """The certificates of all that nodes have to trust now, that of `current` first."""
        return b"".join(certificate_of(pem) for pem in (self.current, self.coming, self.leaving) if pem)

    def rotated(self, new: bytes) -> Authorities:
        """`new` is to take the place of `current`. Raises ValueError while another one does."""
        if self.step:
            raise ValueError(f"another authority is {self.step}")
        return Authorities(self.current, coming=new)

    def at(self, now: float, lifetime: float) -> Authorities:
        """What they are at `now`; `lifetime`: of nodes' certificates, in seconds."""
        due = now + lifetime * (1 + _SLACK)
        if not self.step:
            return self
        if self.until is None:
            return Authorities(self.current, self.coming, self.leaving, due)
        if now < self.until:
            return self
        if self.coming:
            return Authorities(self.coming, leaving=certificate_of(self.current), until=due)
        return Authorities(self.current)


def certificate_of(pem: bytes) -> bytes:
    """Without a key."""
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.PEM)
