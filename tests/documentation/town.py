"""A reader of pages about clusters: `control` and the addresses of nodes are on loopback, the certificate is one of the
tests', and /etc is a directory. All machines are this one; what a page takes for running is started before it.

with Town(home, world) as town:
    town.start(SERVER)
    assert town.paste(path.read_text(), path) > 0
    town.run("modeldist token ls")
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.documentation import page
from tests.documentation.session import Session
from tests.documentation.world import World, room_of, shell
from tests.servers.certificates import issue

ROOT = Path(__file__).parents[2]
# As README.md has them.
SERVER = "modeldist server --host 0.0.0.0 --tls-cert server.pem --tls-key server.key"
AGENT = "modeldist agent --control https://control:7420 --token-file agent.token --listen 10.0.0.7:7421"
NODES = ("10.0.0.5:7421", "10.0.0.5:7431", "10.0.0.7:7421", "127.0.0.1:7430")


class Town:
    """`places` come before those that all pages share; `given` is added to the environment. `tls` is whether the
    control plane is spoken to by TLS."""

    def __init__(
        self,
        home: Path,
        world: World,
        *,
        places: Mapping[str, str] | None = None,
        given: Mapping[str, str] | None = None,
        tls: bool = True,
    ) -> None:
        self.control, *nodes = free_addresses(1 + len(NODES))
        self.etc = home / "etc"
        for name in ("modeldist", "prometheus"):
            (self.etc / name).mkdir(parents=True)
        own = dict(zip(NODES, nodes, strict=True))
        own |= dict.fromkeys(("control:7420", "control-a:7420", "127.0.0.1:7420"), self.control)
        self.places = {**(places or {}), **own, "/etc/": f"{self.etc}/", **world.places} | dict(places or {})
        self.room = room_of(home)
        certificate = issue(home / "certificate")
        shutil.copy(certificate.chain, self.room / "server.pem")
        shutil.copy(certificate.key, self.room / "server.key")
        self.home = home / "home"
        url = f"http{'s' if tls else ''}://{self.control}"
        self.environment = shell(self.home, world) | {
            "SSL_CERT_FILE": str(certificate.authority),
            "MODELDIST_SERVER": url,
            "MODELDIST_AGENT_CONTROL": url,
            "MODELDIST_SERVER_DEFAULT_REGISTRY": world.registry.host,
            "MODELDIST_AGENT_DEFAULT_REGISTRY": world.registry.host,
            "MODELDIST_SERVER_PORT": self.control.rpartition(":")[2],
            **(given or {}),
        }
        (self.room / "agent.token").symlink_to(self.home / ".local/state/modeldist/agent.token")
        (self.room / "deploy").symlink_to(ROOT / "deploy")  # a reader in a checkout
        self._session = Session(self.room, self.environment)

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

    def paste(self, path: Path, text: str = "") -> int:
        """How many examples of a page, or of `text` of it, were run."""
        return page.paste(path, page.examples(text or path.read_text()), self.room, self.places, self._session)

    def start(self, *lines: str) -> None:
        """What a page takes for running."""
        self.paste(Path("before the page"), "\n".join(("```console", *(f"$ {line}" for line in lines), "```")))

    def run(self, code: str) -> str:
        """What a command prints in the same shell. AssertionError with that where it fails."""
        status, printed = self._session.run(code)
        assert status == 0, f"{code}: {printed}"
        return printed

    @property
    def logs(self) -> list[str]:
        """Of what stays, in the order in which it was started."""
        return [log.read_text(errors="replace") for log in self._session.logs]


def free_addresses(count: int) -> list[str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
