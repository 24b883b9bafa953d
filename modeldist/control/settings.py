"""How the control plane is told what to do: arguments, then `MODELDIST_SERVER_*`, then these defaults."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from modeldist.control.admission.memory import default_ceiling
from modeldist.control.admission.rooms import Ceilings
from modeldist.control.trusted_proxies import PROXIES
from modeldist.errors import UsageError
from modeldist.origins.listed import LISTED, LISTED_PATHS
from modeldist.transfer.tls.mode import PieceTls

DEFAULT_PORT = 7420
HELD = 0.5  # of the memory: what is estimated may come to; the rest is for what estimates do not see


def default_state_dir() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "modeldist"


class ServerSettings(BaseSettings):
    """Sizes in bytes, times in seconds, rates in bytes per second. Build it with `load` to get our errors."""

    model_config = SettingsConfigDict(env_prefix="MODELDIST_SERVER_", extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(DEFAULT_PORT, ge=0, le=65535)
    allow_plain_http: bool = False  # listen beyond loopback without TLS
    tls_cert: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: PROXIES = ()  # addresses and networks of reverse proxies that say where clients are

    state_dir: Path = Field(default_factory=default_state_dir)
    database_url: str = ""  # empty: SQLite in the state directory
    advertise: str = ""  # URL of this replica, for those that stand by to name; empty: where it listens

    piece_tls: PieceTls = "off"  # between nodes
    certificate_lifetime: float = Field(24 * 3600.0, ge=2)  # of nodes, which get a new one at half of it

    default_registry: str = "docker.io"
    plain_http_registries: LISTED = ()
    file_roots: LISTED_PATHS = ()  # directories that file:// and oci-layout: references may name
    webhook_hosts: LISTED = ()  # hosts, addresses and networks that are not public, where webhooks may go all the same
    policy: Path | None = None  # file that says which signatures a model needs
    release_key: Path | None = None  # public half of the key that releases of this program are signed with
    origin_streams: int = Field(64, ge=1)  # concurrent reads of one origin, all nodes together
    origin_rate: float | None = Field(None, gt=0)  # of one origin, all nodes together; None: unlimited
    measure_links: bool = True  # of nodes, while nothing is fetched

    report_interval_shortest: float = Field(0.25, gt=0)
    report_interval_longest: float = Field(2.0, gt=0)
    report_interval_longest_at: int = Field(5000, ge=1)  # agents
    ping_interval: float = Field(20.0, gt=0)  # an agent that answers no ping within another one is dropped
    # At once; docs/reliability.md says what one of each costs, and who is refused first.
    memory: int | None = Field(None, ge=64 << 20)  # None: see control/admission/memory.py
    most_held: int | None = Field(None, ge=1 << 20)  # bytes, estimated; None: half of the memory
    most_running_pulls: int = Field(10_000, ge=1)
    most_agents: int = Field(20_000, ge=1)
    most_requests: int = Field(1000, ge=1)
    most_connections: int = Field(10_000, ge=1)  # beside those of agents
    most_event_streams: int = Field(4000, ge=1)
    most_resolving: int = Field(64, ge=1)  # different references; who waits for the same costs nothing more
    most_waiting: int = Field(40_000, ge=1)  # for references, all agents together
    body_limit: int = Field(1 << 20, ge=1024)
    failed_logins: int = Field(30, ge=1)  # wrong tokens from one address at once; then one every two seconds
    audit_records: int = Field(50_000, ge=1)  # of each kind, that `GET /audit` has
    audit_age: float = Field(90 * 86400.0, gt=0)  # for which it has them

    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Settings from `given` (None: not given) and the environment. Raises UsageError."""
        try:
            settings = cls(**{key: value for key, value in given.items() if value is not None})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            raise UsageError(
                f"The setting {name} is wrong: {first['msg']}.",
                remedy=f"Correct it on the command line or in MODELDIST_SERVER_{name.upper()}.",
            ) from None
        return settings

    def ceilings(self) -> Ceilings:
        return Ceilings(
            requests=self.most_requests,
            questions=self.most_waiting,
            resolves=self.most_resolving,
            pulls=self.most_running_pulls,
            streams=self.most_event_streams,
            sessions=self.most_agents,
            held=self.most_held or self.most_memory * HELD,
        )

    @property
    def most_memory(self) -> int:
        """Bytes that this process may have."""
        return self.memory or default_ceiling()

    @property
    def tls(self) -> bool:
        return self.tls_cert is not None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def address(self) -> str:
        """Where clients are sent to."""
        return self.advertise or self.url

    def check_exposure(self) -> None:
        """Raises UsageError when tokens would cross a network in the clear, or half of a TLS pair is missing."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError(
                "TLS needs a certificate and its key, and only one of them is set.",
                remedy="Set both MODELDIST_SERVER_TLS_CERT and MODELDIST_SERVER_TLS_KEY.",
            )
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise UsageError(f"There is no TLS file {path}.", remedy="Correct its path.")
        if not self.tls and not self.allow_plain_http and not _is_loopback(self.host):
            raise UsageError(
                f"Listening on {self.host} without TLS would send tokens over the network in the clear.",
                remedy="Give --tls-cert and --tls-key, listen on 127.0.0.1, or, where something else protects the "
                "network, give --allow-plain-http.",
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
