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
ORIGIN_FAILURES = Metric("modeldist_agent_origin_failures_total", "counter", "Reads of an origin that failed.")
FALLBACKS = Metric(
    "modeldist_agent_rdma_fallbacks_total",
    "counter",
    "Pieces that were meant to come by RDMA and came over TCP.",
    ("reason",),
)
PULLS = Metric("modeldist_agent_pulls", "gauge", "Pulls under way.", ("state",))
ENDED = Metric("modeldist_agent_pulls_ended_total", "counter", "Pulls that ended.", ("state",))
SECONDS = Metric("modeldist_agent_pull_seconds", "histogram", "How long pulls took.", ("state",))
FETCHING = Metric("modeldist_agent_shards_fetching", "gauge", "Shards that are being fetched.")
LEASES = Metric("modeldist_agent_origin_reads", "gauge", "Origin leases that are being read.")
IN_FLIGHT = Metric("modeldist_agent_bytes_in_flight", "gauge", "Bytes asked of other nodes that have not come.")
QUEUE = Metric("modeldist_agent_requests_in_service", "gauge", "Requests of other nodes, waiting or being sent.")
QUEUED_BYTES = Metric("modeldist_agent_queued_bytes", "gauge", "Bytes of those that have not left.")
ARTIFACTS = Metric("modeldist_agent_store_artifacts", "gauge", "Artifacts in the store that are complete.")
FREE = Metric("modeldist_agent_store_free_bytes", "gauge", "Bytes free on the store's file system.")
CAPACITY = Metric("modeldist_agent_store_capacity_bytes", "gauge", "Bytes of the store's file system.")

AGENT_METRICS = every(
    [
        INFO,
        CONNECTED,
        RECEIVED,
        SENT,
        PIECES,
        WRONG_PIECES,
        REJECTED,
        ORIGIN_FAILURES,
        FALLBACKS,
        PULLS,
        ENDED,
        SECONDS,
        FETCHING,
        LEASES,
        IN_FLIGHT,
        QUEUE,
        QUEUED_BYTES,
        ARTIFACTS,
        FREE,
        CAPACITY,
    ]
)
