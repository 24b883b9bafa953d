"""The metrics of a control plane."""

from __future__ import annotations

from modeldist.metrics.metric import Metric, every

INFO = Metric(
    "modeldist_server_info", "gauge", "1, with what this control plane is.", ("version", "cluster", "database")
)
LEADING = Metric(
    "modeldist_server_leading",
    "gauge",
    "1 where this replica leads, or is the only one; 0 where it stands by, and says nothing else of the cluster.",
)
AGENTS = Metric("modeldist_server_agents", "gauge", "Agents with an open session.")
HEARD = Metric(
    "modeldist_server_heard_age_seconds",
    "gauge",
    "Seconds since an agent that is connected was last heard: of half of them at most (`0.5`), and of all (`1`).",
    ("share",),
)
LOAD_AGE = Metric(
    "modeldist_server_load_age_seconds",
    "gauge",
    "Seconds since a node that is connected said how busy it is: of half of them at most (`0.5`), and of all (`1`).",
    ("share",),
)
LOAD_UNKNOWN = Metric(
    "modeldist_server_load_unknown",
    "gauge",
    "Agents with an open session that have said nothing of how busy they are for 3 s, or ever: what they can serve is "
    "guessed.",
)
QUEUE = Metric("modeldist_server_queued_messages", "gauge", "Messages that wait for agents to take them.")
STUCK = Metric(
    "modeldist_server_stuck_seconds", "gauge", "The longest that an agent with messages waiting has taken none."
)
TASKS = Metric("modeldist_server_tasks", "gauge", "Shard tasks.")
LEASES = Metric("modeldist_server_leases", "gauge", "Origin leases granted and not ended.")
LEASE_AGE = Metric(
    "modeldist_server_lease_age_seconds", "gauge", "The longest that one of them has been read, or could have been."
)
LEASE_IDLE = Metric(
    "modeldist_server_lease_idle_seconds", "gauge", "The longest that one of these has made no progress."
)
LEASE_ASKS = Metric(
    "modeldist_server_lease_asks",
    "gauge",
    "Nodes that ask to read at an origin, or to read more, once for each shard task.",
)
ORIGIN = Metric("modeldist_server_origin_bytes", "gauge", "Verified bytes that nodes read at origins, of shard tasks.")
HELD = Metric("modeldist_server_held_bytes", "gauge", "Distinct verified bytes that nodes hold, of shard tasks.")
EXCESS = Metric(
    "modeldist_server_excess_bytes",
    "gauge",
    "Bytes read at origins over those that nodes hold, of shard tasks where there are such: read twice, or lost.",
)
RATIO = Metric(
    "modeldist_server_task_origin_ratio",
    "gauge",
    "A of the shard tasks with the highest, 20 at most, of those where something was read at the origin: bytes read "
    "there over distinct bytes held.",
    ("task",),
)
PULLS = Metric("modeldist_server_pulls", "gauge", "Pulls, made over REST, that run.")
PULL_AGE = Metric("modeldist_server_pull_age_seconds", "gauge", "The longest that one of those has run.")
ENDED = Metric("modeldist_server_pulls_ended_total", "counter", "Those that ended.", ("state",))
FULL = Metric(
    "modeldist_server_ceiling_ratio",
    "gauge",
    "How much of each ceiling of the control plane is used, of 1: requests, questions (references that agents wait "
    "for), resolves, pulls, streams (of events), sessions, held (bytes).",
    ("ceiling",),
)
REFUSED = Metric(
    "modeldist_server_refused_total",
    "counter",
    "What was refused for want of room below a ceiling, or of memory.",
    ("ceiling",),
)
REQUESTS = Metric(
    "modeldist_server_http_requests_total",
    "counter",
    "Requests answered, by the route as the API's description has it.",
    ("method", "route", "status"),
)
SECONDS = Metric(
    "modeldist_server_http_seconds", "histogram", "From a request to the beginning of its answer.", ("method", "route")
)

SERVER_METRICS = every(
    [
        INFO,
        LEADING,
        AGENTS,
        HEARD,
        LOAD_AGE,
        LOAD_UNKNOWN,
        QUEUE,
        STUCK,
        TASKS,
        LEASES,
        LEASE_AGE,
        LEASE_IDLE,
        LEASE_ASKS,
        ORIGIN,
        HELD,
        EXCESS,
        RATIO,
        PULLS,
        PULL_AGE,
        ENDED,
        FULL,
        REFUSED,
        REQUESTS,
        SECONDS,
    ]
)
