"""The actor that runs a control plane on a Ray cluster which has none."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modeldist.control.bootstrap import TOKEN_FILES, prepare_state_dir
from modeldist.control.settings import default_state_dir
from modeldist.errors import ControlPlaneError, ErrorInfo, ModeldistError
from modeldist.ray.certificate import self_signed, still_good, write_secret
from modeldist.ray.kept_process import KeptProcess


@dataclass(frozen=True)
class Joining:
    """What an agent must know to join: the control plane's URL, the agents' token, and the certificate to trust (PEM;
    empty: what the system trusts)."""

    url: str
    token: str
    certificate: bytes = b""

    def __repr__(self) -> str:
        return f"Joining({self.url!r})"  # the token is in no log


class ControlActor:
    """The actor's class. `address` is that of its node. What is in its state directory survives it: tokens, database,
    certificate and port, so that agents find it again."""

    def __init__(self, address: str, options: Sequence[str]) -> None:
        self._address = address
        self._state = default_state_dir() / "ray"
        self._kept: KeptProcess | None = None
        self._failed: ErrorInfo | None = None
        try:
            prepare_state_dir(self._state)
            self._port = self._settle()
        except ModeldistError as error:
            self._failed = error.info()
            return
        words = ["server", "--host", address, "--port", str(self._port), "--state-dir", str(self._state)]
        tls = ["--tls-cert", str(self._certificate), "--tls-key", str(self._key)]
        self._kept = KeptProcess([*words, *tls, *options], os.environ, self._state / "ray-server.log")

    async def ready(self) -> Joining | ErrorInfo:
        """What agents need, once it listens."""
        while self._kept is not None and not await self._listening():
            if self._kept.hopeless:
                return ControlPlaneError(
                    f"The control plane on {self._address} does not start: {self._kept.last_words()}",
                    remedy="`stop_agents()`, and begin again with other `server_options`.",
                ).info()
            await asyncio.sleep(0.2)
        if self._failed is not None:
            return self._failed
        token = (self._state / TOKEN_FILES["agent"]).read_text().strip()
        return Joining(f"https://{self._url_host}:{self._port}", token, self._certificate.read_bytes())

    async def stop(self) -> None:
        if self._kept is not None:
            await asyncio.to_thread(self._kept.stop)

    @property
    def _certificate(self) -> Path:
        return self._state / f"ray-{self._address.replace(':', '_')}.pem"

    @property
    def _key(self) -> Path:
        return self._certificate.with_suffix(".key")

    @property
    def _url_host(self) -> str:
        return f"[{self._address}]" if ":" in self._address else self._address

    def _settle(self) -> int:
        """The port, and a certificate for this address: those of last time where there were some."""
        if not still_good(self._certificate):
            certificate, key = self_signed(self._address)
            write_secret(self._key, key)
            self._certificate.write_bytes(certificate)
        place = self._state / "ray.port"
        if not place.exists():
            family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
            with socket.create_server((self._address, 0), family=family) as free:
                place.write_text(str(free.getsockname()[1]))
        return int(place.read_text())

    async def _listening(self) -> bool:
        """And has written its tokens, which it does before."""
        try:
            _, writer = await asyncio.open_connection(self._address, self._port)
        except OSError:
            return False
        writer.close()
        return (self._state / TOKEN_FILES["agent"]).exists()
