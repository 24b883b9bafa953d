"""Requests and answers of the agent's local API, apart from the server: the command line imports them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from modeldist.agent.parts import wanted_size
from modeldist.agent.scrub_status import ScrubStatus
from modeldist.artifact import Digest
from modeldist.explain.record import Around
from modeldist.scheduler.messages import Priority
from modeldist.uploads import Uploads

if TYPE_CHECKING:
    from modeldist.agent.store import StoredArtifact


class StartRequest(msgspec.Struct, frozen=True):
    """Body of POST /v1/pulls."""

    reference: str
    priority: Priority = Priority.PULL
    offline: bool = False


class PlanRequest(msgspec.Struct, frozen=True):
    """Body of POST /v1/plans."""

    reference: str


class GcRequest(msgspec.Struct, frozen=True):
    """Body of POST /v1/gc. `target_free` in bytes, `max_age` in seconds."""

    target_free: int | None = None
    max_age: float | None = None
    dry_run: bool = False


class RepairRequest(msgspec.Struct, frozen=True):
    """Body of POST /v1/repairs: of artifacts from whose files something damaged was removed. None of them: to have
    the control plane told what is gone."""

    artifacts: tuple[Digest, ...] = ()


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of GET /v1/status. Sizes in bytes. `gateway` is the host:port of the drop-in endpoints, empty where there
    are none. `rdma` says which devices are used, or why none is, empty where the machine has none; `rdma_bytes` came by
    it, `rdma_detours` are pieces that came over TCP instead, by reason. `watermarks` says between which models are
    evicted, empty where none are; `disk_used` of `disk_capacity` is as they count, or of the store's disk. `scrub` is
    None where it is off. `uploads`: what they wait for; `around`: how busy the node is. `launched`: by
    `modeldist launch`, so that it can update itself."""

    version: str
    node: str
    name: str
    store: str
    hub: str
    address: str
    connected: bool
    control_error: str
    pulls_running: int
    artifacts: int
    bytes_sent: int
    gateway: str = ""
    rdma: str = ""
    rdma_bytes: int = 0
    rdma_detours: dict[str, int] = {}
    watermarks: str = ""
    disk_used: int = 0
    disk_capacity: int = 0
    scrub: ScrubStatus | None = None
    uploads: Uploads | None = None
    around: Around | None = None
    launched: bool = False


class ArtifactRow(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact of GET /v1/artifacts and of `ls`. Sizes in bytes, `last_used` in seconds since the epoch; `path` is
    empty where there is no complete snapshot. `whole`: of a part of a model, what all of that has; else 0."""

    name: str
    digest: str
    references: tuple[str, ...]
    size: int
    files: int
    path: str
    last_used: float
    pinned: bool
    whole: int = 0


def artifact_row(stored: StoredArtifact) -> ArtifactRow:
    return ArtifactRow(
        name=stored.artifact.name,
        digest=stored.artifact.digest,
        references=tuple(stored.references),
        size=wanted_size(stored.artifact),
        files=len(stored.artifact.files),
        path=str(stored.snapshot or ""),
        last_used=stored.last_used,
        pinned=stored.pinned,
        whole=stored.artifact.part.size if stored.artifact.part else 0,
    )
