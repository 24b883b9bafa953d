"""A preheat job as Harbor's Dragonfly driver posts it, and the pull it means.

Shape and paths: Harbor's driver for Dragonfly 2, `src/pkg/p2p/preheat/provider/dragonfly.go`; Dragonfly's clients send
`count` and `percentage` too. Fields that say how Dragonfly shall work (`filtered_query_params`, `concurrent_count`,
cluster ids, …) have no meaning here. `headers` carry a token that Harbor made for this one image: nodes read
with their own credentials, so it is neither kept nor shown.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from modeldist.control.pulls.selection import Selector
from modeldist.control.resolver import MAX_REFERENCE
from modeldist.control.whole_numbers import Whole
from modeldist.errors import InvalidReference, Unsupported, UsageError
from modeldist.origins.registry_references import parse_reference

SEED_LABEL = {"seed": "true"}
"""What nodes carry that the scope `all_seed_peers` means."""

SCOPES = ("single_peer", "single_seed_peer", "all_seed_peers", "all_peers")

_MANIFEST = re.compile(r"/v2/(?P<repository>.+)/manifests/(?P<version>[^/]+)")
_PORTS = {"https": 443, "http": 80}


class JobArguments(BaseModel):
    """`url` is the manifest's; `scope` says on how many nodes the model shall be."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str = Field(max_length=64, json_schema_extra={"enum": ["image"]})
    url: str = Field(min_length=1, max_length=MAX_REFERENCE)
    scope: str = Field("", max_length=64, json_schema_extra={"enum": ["", *SCOPES]})
    count: Annotated[Whole, Field(ge=0, le=100_000)] | None = None
    percentage: Annotated[Whole, Field(ge=0, le=100)] | None = None
    ips: list[str] | None = Field(None, max_length=10_000)
    timeout: Annotated[Whole, Field(ge=0, le=(1 << 63) - 1, description="Nanoseconds, as Go counts; 0: none.")] = 0


class JobRequest(BaseModel):
    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "preheat",
                    "args": {
                        "type": "image",
                        "url": "https://harbor.example/v2/library/model/manifests/v1",
                        "tag": "",
                        "filtered_query_params": "",
                        "headers": {"Authorization": "Bearer …"},
                        "scope": "all_peers",
                        "concurrent_count": 0,
                        "timeout": 0,
                    },
                    "scheduler_cluster_ids": None,
                }
            ]
        },
    )

    type: str = Field(max_length=64, json_schema_extra={"enum": ["preheat"]})
    args: JobArguments

    def reference(self) -> str:
        """Raises InvalidReference, Unsupported."""
        if self.type != "preheat" or self.args.type != "image":
            raise Unsupported(
                f"A job of type {self.type!r} for something of type {self.args.type!r} is none that runs here.",
                remedy='Ask for "preheat" of an "image"; POST /api/v1/pulls puts any reference on nodes.',
            )
        return reference_of(self.args.url)

    def selector(self) -> Selector:
        """Raises UsageError, Unsupported."""
        if self.args.ips:
            raise Unsupported(
                "A preheat job cannot choose nodes by IP address here.",
                remedy='Give the scope "all_peers", or POST /api/v1/pulls with the nodes\' names.',
            )
        return selector_of(self.args.scope, self.args.count or 0, self.args.percentage or 0)

    def deadline(self, now: float) -> float | None:
        """Seconds since the epoch, as `now`."""
        return now + self.args.timeout / 1e9 if self.args.timeout else None


def selector_of(scope: str, count: int = 0, percentage: int = 0) -> Selector:
    """The nodes of a scope. Raises UsageError."""
    if count:
        percentage = 0  # the count comes first, as in Dragonfly
    match scope:
        case "" | "single_peer" | "single_seed_peer":
            return Selector(count=1)
        case "all_seed_peers":
            return Selector(labels=SEED_LABEL, count=count, percentage=percentage)
        case "all_peers":
            return Selector(everyone=not (count or percentage), count=count, percentage=percentage)
    raise UsageError(
        f"The scope {scope!r} means no nodes.",
        remedy="Write single_peer, single_seed_peer, all_seed_peers or all_peers.",
    )


def reference_of(url: str) -> str:
    """`https://harbor.example/v2/library/model/manifests/v1` as `harbor.example/library/model:v1`. Raises
    InvalidReference."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _no_manifest(url) from None
    found = _MANIFEST.fullmatch(parts.path)
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc or parts.query or parts.fragment or not found:
        raise _no_manifest(url)
    registry = parts.netloc
    if port is None and "." not in host and host != "localhost":
        registry = f"{registry}:{_PORTS[parts.scheme]}"  # without a dot or a port it would read as part of the name
    version = found["version"]
    mark = "@" if ":" in version else ":"
    return str(parse_reference(f"{registry}/{found['repository']}{mark}{version}", registry))


def _no_manifest(url: str) -> InvalidReference:
    return InvalidReference(
        f"{url.rpartition('@')[2][:200]!r} is no URL of an image's manifest.",
        remedy="It is written https://registry.example/v2/REPOSITORY/manifests/TAG.",
    )
