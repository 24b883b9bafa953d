"""What phase 2 can be told."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Phase2Config:
    """Sizes in bytes, times in seconds.

    `small_leases`: how many leases of small shards are handed to the reader at a time, which reads them in a row (None:
    as many as there are streams).
    `window`: as many bytes are requested ahead as the measured goodput delivers in this time, overall and per parent:
    longer than round trips and stalls of a busy machine, and what waits in parents' queues at the end is late by it.
    `download_rate`: bytes/s that peers and origin together may bring (None: no limit). Peers are asked for what the
    origin leaves of it.
    `weights`: shares of serving, pull and prefetch tasks while they compete for the same parents.
    `patience`: how long a task may stand still before the node fetches a piece over its rack's uplink that a rack mate
    was to bring.
    `overdue`: how long a piece is with a slow parent only, once to twice this time, before children fetch it there that
    were to have it from another child.
    `request_again`: a task that stands still for this long repeats its lease request (the control plane may have
    restarted) and gives the parents that failed it another chance.
    `out_of_reach`: when none of the parents served anything for this long, what they hold may be read from the origin.
    `read_ahead`, `read_ahead_seconds`: of models that are read while they come, the origin is asked for that many bytes
    at a time, or what it brings in that time, if that is more. What a reader waits for stands behind no more than that.
    `linger`: how long a connection without a task stays open.
    """

    origin_streams: int = 8
    small_leases: int | None = None
    window: float = 0.25
    min_pieces_in_flight: int = 16
    max_in_flight: int = 1024 * MIB
    max_in_flight_per_parent: int = 256 * MIB
    download_rate: float | None = None
    weights: tuple[int, int, int] = (16, 4, 1)
    hedge_pieces: int = 4
    hedge_after: float = 1.5  # times the expected duration of a request
    hedge_slack: float = 0.1
    stall: float = 5.0
    stall_factor: float = 8.0  # times the expected duration of a piece, when that is longer than `stall`
    cooldown: float = 0.5
    cooldown_max: float = 30.0
    busy_max: float = 60.0
    patience: float = 1.0
    overdue: float = 1.0
    request_again: float = 5.0
    out_of_reach: float = 15.0
    read_ahead: int = 16 * MIB
    read_ahead_seconds: float = 0.25
    linger: float = 5.0
