"""The metrics of an agent."""

from __future__ import annotations

from modeldist.metrics.metric import Metric, every

INFO = Metric("modeldist_agent_info", "gauge", "1, with what this agent is.", ("version", "node", "name"))
CONNECTED = Metric("modeldist_agent_connected", "gauge", "1 while it has a session with the control plane.")
RECEIVED = Metric(
    "modeldist_agent_received_bytes_total",
    "counter",
    "Bytes of shards that came, from where (origin, peer, store: taken out of other files of this node) and how (http, "
    "tcp, rdma, copy). Of an origin as they arrive, of others once they are verified.",
    ("source", "transport"),
)
SENT = Metric("modeldist_agent_sent_bytes_total", "counter", "Bytes of pieces sent to other nodes.")
PIECES = Metric("modeldist_agent_pieces_total", "counter", "Pieces that came and are verified.", ("source",))
WRONG_PIECES = Metric(
    "modeldist_agent_wrong_pieces_total", "counter", "Pieces from other nodes that were not what they should be."
)
REJECTED = Metric(
    "modeldist_agent_shards_rejected_total",
    "counter",
    "Shards whose pieces were all as promised and whose digest was wrong all the same.",
)
PEER_FAILURES = Metric(
    "modeldist_agent_piece_failures_total",
    "counter",
    "Requests for pieces that other nodes did not fulfil: busy (it has enough to do, and says when to ask again), "
    "refused, lost (the connection ended), disk (of this node: it could not be written).",
    ("reason",),
)
ORIGIN_FAILURES = Metric(
    "modeldist_agent_origin_failures_total",
    "counter",
    "Reads of an origin that failed, by the code of the error.",
    ("reason",),
)
FALLBACKS = Metric(
    "modeldist_agent_rdma_fallbacks_total",
    "counter",
    "Pieces that were meant to come by RDMA and came over TCP: no_device (the parent has none), no_memory (the parent "
    "had none registered that was free), no_answer (the parent did not say whether it can), failed (`modeldist status` "
    "has the words).",
    ("reason",),
)
PULLS = Metric("modeldist_agent_pulls", "gauge", "Pulls under way.", ("state",))
ENDED = Metric("modeldist_agent_pulls_ended_total", "counter", "Pulls that ended.", ("state",))
SECONDS = Metric("modeldist_agent_pull_seconds", "histogram", "How long pulls took.", ("state",))
PULL_AGE = Metric("modeldist_agent_pull_age_seconds", "gauge", "The longest that one of those under way has taken.")
RATE = Metric(
    "modeldist_agent_pull_bytes_per_second",
    "histogram",
    "Of pulls that are done and took 64 MiB or more from elsewhere: those bytes, whichever pull of this node asked for "
    "them first, over all the seconds of the pull.",
)
STALE = Metric(
    "modeldist_agent_stale_pulls_total",
    "counter",
    "Pulls that used what was there, since nobody could say whether there is a newer one.",
)
FETCHING = Metric("modeldist_agent_shards_fetching", "gauge", "Shards that are being fetched.")
LEASES = Metric("modeldist_agent_origin_reads", "gauge", "Origin leases that are being read.")
IN_FLIGHT = Metric("modeldist_agent_bytes_in_flight", "gauge", "Bytes asked of other nodes that have not come.")
QUEUE = Metric("modeldist_agent_requests_in_service", "gauge", "Requests of other nodes, waiting or being sent.")
QUEUED_BYTES = Metric("modeldist_agent_queued_bytes", "gauge", "Bytes of those that have not left.")
ARTIFACTS = Metric("modeldist_agent_store_artifacts", "gauge", "Artifacts in the store that are complete.")
FREE = Metric("modeldist_agent_store_free_bytes", "gauge", "Bytes free on the store's file system.")
CAPACITY = Metric("modeldist_agent_store_capacity_bytes", "gauge", "Bytes of the store's file system.")

DAMAGED = Metric(
    "modeldist_agent_store_damaged_shards",
    "gauge",
    "Shards that the scrubber found damaged and withdrew, in the round that runs, or else the last one.",
)

AGENT_METRICS = every(
    [
        INFO,
        CONNECTED,
        RECEIVED,
        SENT,
        PIECES,
        WRONG_PIECES,
        REJECTED,
        PEER_FAILURES,
        ORIGIN_FAILURES,
        FALLBACKS,
        PULLS,
        ENDED,
        SECONDS,
        PULL_AGE,
        RATE,
        STALE,
        FETCHING,
        LEASES,
        IN_FLIGHT,
        QUEUE,
        QUEUED_BYTES,
        ARTIFACTS,
        FREE,
        CAPACITY,
        DAMAGED,
    ]
)
