"""What this node was given when it was enrolled, and keeps: its own token, its key and certificate, the authority.

Files of the directory `identity` of its store, for their owner alone. The token is written last: where it is, the node
is enrolled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from modeldist.agent.store.atomic import sync_directory, write_atomically
from modeldist.errors import StorageError
from modeldist.file_failures import of_a_file
from modeldist.logger import Logger
from modeldist.transfer.tls.authority import BACKDATED
from modeldist.transfer.tls.security import Contexts, contexts

log = Logger(__name__)

FOLDER = "identity"  # in the store's root


def is_enrolled(store: Path) -> bool:
    """Whether the node of this store was."""
    return (store / FOLDER / "token").exists()


class NodeIdentity:
    """Of the node with this store. `now`: seconds since the epoch."""

    def __init__(self, store: Path, now: Callable[[], float] = time.time) -> None:
        self.folder = store / FOLDER
        self._now = now
        self._token = self.folder / "token"
        self._pair = self.folder / "node.pem"  # key and certificate in one file, replaced together
        self._authority = self.folder / "authority.pem"

    @property
    def enrolled(self) -> bool:
        return self._token.exists()

    @property
    def token(self) -> str:
        """Raises StorageError."""
        try:
            return self._token.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(
                f"This node's token {self._token} cannot be read: {error}.",
                remedy="Correct its owner, or remove the directory and enrol the node again.",
            ) from error

    def keep(self, key: bytes, certificate: bytes, authority: bytes, token: str = "") -> None:
        """A certificate with its key, and a token where there is one. Raises StorageError."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            write_atomically(self._authority, authority, tmp=self.folder, durable=True)
            write_atomically(self._pair, key + certificate, tmp=self.folder, durable=True)
            if token:
                write_atomically(self._token, f"{token}\n".encode(), tmp=self.folder, durable=True)
            sync_directory(self.folder)
        except OSError as error:
            raise of_a_file(
                error,
                f"What this node was given cannot be written into {self.folder}: {error.strerror}.",
                forbidden="Correct the directory's owner.",
                otherwise="Check the disk under it.",
                then="Then revoke the node and enrol it again.",
            ) from error

    def contexts(self) -> Contexts | None:
        """What is shown to other nodes; None while there is nothing that they would take."""
        if self.left() <= 0:
            return None
        try:
            return contexts(self._pair, self._authority)
        except OSError as error:
            log.error("this node's certificate cannot be used", folder=str(self.folder), error=str(error))
            return None

    def left(self) -> float:
        """Seconds until the certificate expires; none where there is none."""
        _, end = self._validity()
        return end - self._now()

    def half(self) -> float:
        """Half of the certificate's lifetime, in seconds."""
        begin, end = self._validity()
        return max(0.0, (end - begin - BACKDATED) / 2)

    def _validity(self) -> tuple[float, float]:
        from cryptography import x509

        try:
            certificate = x509.load_pem_x509_certificate(self._pair.read_bytes())
        except (OSError, ValueError):
            return 0.0, 0.0
        return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
