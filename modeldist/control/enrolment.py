"""How a machine becomes a node of the cluster: a join token, good once, for a token and a certificate of its own.

Both are for one node's id. The token opens its sessions and renews its certificate, for as long as nobody revokes it;
the certificate is what other nodes ask for, and good for a day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modeldist.control.authority_watch import AuthorityWatch
from modeldist.control.store.tokens import Token, Tokens
from modeldist.errors import ControlPlaneRefused


@dataclass(frozen=True)
class Certified:
    """PEM: a node's certificate, and the authority that nodes know each other's by; both while one takes the other's
    place."""

    certificate: bytes
    authority: bytes


class Enrolment:
    """`enrols` is told each node that was."""

    def __init__(self, tokens: Tokens, authority: AuthorityWatch, enrols: Callable[[str], None]) -> None:
        self._tokens = tokens
        self._enrols = enrols
        self._authority = authority

    async def enrol(self, join: Token, node: str, csr: str) -> tuple[str, Certified]:
        """The node's own token, and a certificate for the key that signed `csr` (PEM). The join token is used up by
        success alone. Raises UsageError, ControlPlaneRefused."""
        certified = self._certify(node, csr)
        token = await self._tokens.enrol(join, node)
        if token is None:
            raise ControlPlaneRefused(
                f"The join token {join.name!r} was used or has expired.", remedy="Make another: modeldist token join."
            )
        self._enrols(node)
        return token, certified

    async def renew(self, token: Token, csr: str) -> Certified:
        """A certificate for the node whose token this is. Raises UsageError, ControlPlaneRefused."""
        if not await self._tokens.still(token):
            raise ControlPlaneRefused(f"Node {token.name} is no longer enrolled.", remedy="Enrol it with a join token.")
        return self._certify(token.name, csr)

    def _certify(self, node: str, csr: str) -> Certified:
        return Certified(*self._authority.certify(csr, node))
