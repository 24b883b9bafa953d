"""What the origins are told from outside: registries, endpoints, credentials, allowed paths, patience."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.oci.credentials import Credentials
    from modelpack.trust.policy import Policy


@dataclass(frozen=True)
class HttpSettings:
    """How HTTP reads behave. Times in seconds.

    `stall_timeout` is how long a connection may bring nothing, or next to nothing (`http_body.LEAST`), while a shard is
    read, `answer_timeout` how long a small answer (a manifest, a token, a listing) may take, `answer_patience` after
    how long a question is not put again.
    `retries` counts failures in a row without progress.
    A Retry-After up to `retry_after_cap` is honoured; a longer one ends the read at once.
    `private_redirects` lets an origin with a public address redirect to a private one (a bucket's endpoint inside
    the same network); otherwise that is refused.
    """

    connect_timeout: float = 10.0
    stall_timeout: float = 60.0
    answer_timeout: float = 20.0
    answer_patience: float = 40.0
    retries: int = 5
    backoff: float = 0.5
    backoff_cap: float = 20.0
    retry_after_cap: float = 60.0
    private_redirects: bool = False


@dataclass(frozen=True)
class OriginSettings:
    """`file_roots`: directories that `file://` and `oci-layout:` references may name; the empty tuple forbids them,
    None allows any path and is for embedded mode alone, where the person at the shell is who typed it.
    `hf_endpoint` None: HF_ENDPOINT of the environment, else the public hub. `hf_token` None: the token
    huggingface_hub finds (HF_TOKEN or its login file); it is only ever sent to `hf_endpoint`.
    `modelscope_endpoint` None: MODELSCOPE_ENDPOINT or MODELSCOPE_DOMAIN of the environment, else the public hub.
    `modelscope_token` None: MODELSCOPE_API_TOKEN; it is only ever sent to `modelscope_endpoint`.
    `plain_http`: registries, and web servers of `http://` references, that are spoken to without TLS, as references
    name them (`host:port`); a web server by its host alone too. Those on loopback need not be here.
    `registry_credentials` None: those of Docker's and Podman's files.
    `policy`: which signatures a model needs; None: none.
    """

    default_registry: str = "docker.io"
    plain_http: frozenset[str] = frozenset()
    registry_credentials: Credentials | None = None
    hf_endpoint: str | None = None
    hf_token: Callable[[], str | None] | None = None
    modelscope_endpoint: str | None = None
    modelscope_token: Callable[[], str | None] | None = None
    file_roots: tuple[Path, ...] | None = ()
    policy: Policy | None = None
    http: HttpSettings = field(default_factory=HttpSettings)
