"""What a node is told at start. The daemon fills it from the environment, embedded mode from the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from modeldist.scheduler.messages import Location


def default_store() -> Path:
    """$MODELDIST_STORE, or modeldist/ in the user's cache directory."""
    if given := os.environ.get("MODELDIST_STORE"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "modeldist"


def default_socket() -> Path:
    """$MODELDIST_SOCKET, or agent.sock in the user's runtime directory (the store's where there is none)."""
    if given := os.environ.get("MODELDIST_SOCKET"):
        return Path(given).expanduser()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "modeldist" / "agent.sock"
    return default_store() / "agent.sock"


_FEW_CORES = 4  # what one stream of bytes, its two digests and the disk can keep busy


def few_cores() -> bool:
    """Whether more threads on one stream of bytes would only take turns."""
    return len(os.sched_getaffinity(0)) <= _FEW_CORES


@dataclass(frozen=True)
class EngineConfig:
    """Limits of one node's engine.

    `origin_streams`: concurrent origin reads; one alone where it brings `one_stream_enough` bytes/s.
    `download_rate`: bytes/s from origins and peers together (None: no limit). `upload_rate`: of the piece server, which
    keeps to it by itself; to tell of it.
    `verify_threads`: BLAKE3 of pieces (4 GB/s each on a core with AVX2).
    `origin_failures`: consecutive failed leases of one shard, with no piece arriving from anyone, after which the pull
    fails; each already includes the reader's own retries. `rejections`: how often a whole shard may turn out wrong
    before the pull fails.
    """

    name: str = ""
    location: Location = Location()
    labels: dict[str, str] = field(default_factory=dict)
    origin_streams: int = 4
    one_stream_enough: float | None = None
    download_rate: float | None = None
    upload_rate: float | None = None
    verify_threads: int = 2
    origin_failures: int = 3
    rejections: int = 2
    measure_load: bool = True  # for phase 1, which weighs nodes by it
    alone: bool = False  # no other node takes part: nobody hears what arrives here, and small shards need no lease
    offer_held: bool = True  # tell the control plane about complete shards so that others may fetch them
    patience: float = 600.0  # seconds for which a control plane without room is asked again
