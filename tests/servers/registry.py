"""A real registry: Debian's docker-registry as a process on an ephemeral loopback port.

    with Registry(tmp_path) as registry:
        registry.host            # "127.0.0.1:41234", what goes in front of "/org/model:tag"
        registry.access_log()    # every finished request with the body bytes it cost

`auth="basic"` puts htpasswd in front of it and `auth="token"` a token server (`registry.tokens`); both know the one
account USERNAME, PASSWORD. Where the binary is missing the test is skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import pytest

from tests.servers.token_server import PASSWORD, USERNAME, TokenServer

__all__ = ["PASSWORD", "USERNAME", "Access", "Registry"]

BINARY = "docker-registry"
# bcrypt of PASSWORD at the lowest cost: docker-registry takes no other htpasswd hash.
_HTPASSWD = f"{USERNAME}:$2b$04$Wf.lS5OCB5ajHnSyPXCT9.VTu2wrDUmE4JxebUVu5TvNlJR9t7eaS\n"

_LISTENING = re.compile(r'msg="listening on [^"]*:(\d+)(?:, tls)?"')
# docker-registry prints one Apache combined line per request on stdout when the request is over, with the body bytes
# it wrote: exact for complete answers; for a client that went away, what the kernel had taken by then.
_ACCESS = re.compile(r'^\S+ - \S+ \[[^]]*\] "(?P<method>[A-Z]+) (?P<uri>\S+) [^"]*" (?P<status>\d+) (?P<bytes>\d+) ')
# At debug level it prints this on stderr when a request arrives.
_STARTED = re.compile(
    r'msg="authorizing request".* http\.request\.method=(?P<method>[A-Z]+) .*?http\.request\.uri="?(?P<uri>[^" ]+)"?'
)


@dataclass(frozen=True)
class Access:
    """One finished request. `bytes` are body bytes written; the log does not tell which range was asked for."""

    method: str
    path: str
    query: str
    status: int
    bytes: int

    @property
    def partial(self) -> bool:
        return self.status == 206

    @property
    def blob(self) -> str:
        """Digest of the blob read, "" for every other kind of request."""
        head, found, digest = self.path.rpartition("/blobs/")
        return digest if found and digest.startswith("sha") and head.startswith("/v2/") else ""


class Registry:
    """The process. `storage` (a directory, usually tmp_path) keeps the blobs, the configuration and the logs.

    `address` and `port` are where it listens; `certificate` are the PEM files (chain, key)
    to speak TLS with; `inside` goes in front of its command, to run it in a network namespace.
    """

    def __init__(
        self,
        storage: Path,
        *,
        auth: Literal["none", "basic", "token"] = "none",
        delete: bool = False,
        address: str = "127.0.0.1",
        port: int = 0,
        certificate: tuple[Path, Path] | None = None,
        inside: Sequence[str] = (),
    ) -> None:
        self._home = storage
        self._auth = auth
        self._delete = delete
        self._address = address
        self._certificate = certificate
        self._inside = tuple(inside)
        self._process: subprocess.Popen[bytes] | None = None
        self._logs: list[IO[bytes]] = []
        self.tokens: TokenServer | None = None
        self.port = port

    @property
    def host(self) -> str:
        return f"{self._address}:{self.port}"

    @property
    def storage(self) -> Path:
        """Its root directory."""
        return self._home / "storage"

    @property
    def url(self) -> str:
        return f"http{'s' if self._certificate else ''}://{self.host}"

    def __enter__(self) -> Self:
        if shutil.which(BINARY) is None:
            pytest.skip(f"{BINARY} is not installed (Debian: apt-get install docker-registry)")
        self._home.mkdir(parents=True, exist_ok=True)
        if self._auth == "token":
            self.tokens = TokenServer().__enter__()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self.tokens is not None:
            self.tokens.__exit__(kind, error, trace)

    def start(self) -> None:
        """Start the process; after `stop`, on the same port and with the same content."""
        if self._process is not None:
            return
        config = self._home / "registry.json"  # JSON is YAML
        config.write_text(json.dumps(self._config()))
        seen = self._text("stderr.log").count('msg="listening on')
        self._logs = [(self._home / name).open("ab") for name in ("stdout.log", "stderr.log")]
        self._process = subprocess.Popen(
            [*self._inside, BINARY, "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=self._logs[0],
            stderr=self._logs[1],
        )
        deadline = time.monotonic() + 20
        while len(ports := _LISTENING.findall(self._text("stderr.log"))) <= seen:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{BINARY} did not start:\n{self._text('stderr.log')[-2000:]}")
            time.sleep(0.01)
        self.port = int(ports[-1])

    def stop(self) -> None:
        """Kill the process: open connections break, new ones are refused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for log in self._logs:
            log.close()
        self._logs = []

    def access_log(self, *, wait: float = 5.0) -> list[Access]:
        """Every request so far, in the order they ended. The line of a request is written just after its last byte, so
        this waits up to `wait` seconds for the requests that have begun to end."""
        deadline = time.monotonic() + wait
        while True:
            begun = Counter(_STARTED.findall(self._text("stderr.log")))
            lines = [found for line in self._text("stdout.log").splitlines() if (found := _ACCESS.match(line))]
            if begun <= Counter((line["method"], line["uri"]) for line in lines) or time.monotonic() > deadline:
                return [self._access(line) for line in lines]
            time.sleep(0.01)

    def blob_bytes(self) -> int:
        """Body bytes of blobs read so far: what the registry has served of model data."""
        return sum(access.bytes for access in self.access_log() if access.method == "GET" and access.blob)

    def clear_log(self) -> None:
        """Forget the requests so far."""
        self.access_log()
        (self._home / "stdout.log").write_bytes(b"")
        stderr = self._home / "stderr.log"
        kept = [line for line in stderr.read_text().splitlines(keepends=True) if 'msg="listening on' in line]
        stderr.write_text("".join(kept))

    @staticmethod
    def _access(line: re.Match[str]) -> Access:
        path, _, query = line["uri"].partition("?")
        return Access(line["method"], path, query, int(line["status"]), int(line["bytes"]))

    def _text(self, name: str) -> str:
        path = self._home / name
        return path.read_text(errors="replace") if path.exists() else ""

    def _config(self) -> dict[str, object]:
        http: dict[str, object] = {"addr": self.host, "secret": "of the tests"}
        if self._certificate:
            http["tls"] = dict(zip(("certificate", "key"), map(str, self._certificate), strict=True))
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "debug"},
            "storage": {
                "filesystem": {"rootdirectory": str(self._home / "storage")},
                "delete": {"enabled": self._delete},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": http,
        }
        if self._auth == "basic":
            htpasswd = self._home / "htpasswd"
            htpasswd.write_text(_HTPASSWD)
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(htpasswd)}}
        if self.tokens is not None:
            bundle = self._home / "tokens.pem"
            bundle.write_bytes(self.tokens.certificate)
            config["auth"] = {
                "token": {
                    "realm": self.tokens.realm,
                    "service": self.tokens.service,
                    "issuer": self.tokens.issuer,
                    "rootcertbundle": str(bundle),
                }
            }
        return config
