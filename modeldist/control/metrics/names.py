"""The metrics of a control plane."""

from __future__ import annotations

from modeldist.metrics.metric import Metric, every

INFO = Metric(
    "modeldist_server_info", "gauge", "1, with what this control plane is.", ("version", "cluster", "database")
)
AGENTS = Metric("modeldist_server_agents", "gauge", "Agents with an open session.")
HEARD = Metric(
    "modeldist_server_heard_age_seconds",
    "gauge",
    "Seconds since an agent that is connected was last heard: the median and the longest.",
    ("quantile",),
)
LOAD_AGE = Metric(
    "modeldist_server_load_age_seconds",
    "gauge",
    "Seconds since a node that is connected last said how busy it is: the median and the longest.",
    ("quantile",),
)
QUEUE = Metric("modeldist_server_queued_messages", "gauge", "Messages that wait for agents to take them.")
STUCK = Metric(
    "modeldist_server_stuck_seconds", "gauge", "The longest that an agent with messages waiting has taken none."
)
TASKS = Metric("modeldist_server_tasks", "gauge", "Shard tasks.")
LEASES = Metric("modeldist_server_leases", "gauge", "Origin leases granted and not ended.")
LEASE_IDLE = Metric(
    "modeldist_server_lease_idle_seconds", "gauge", "The longest that an origin lease has made no progress."
)
ORIGIN = Metric("modeldist_server_origin_bytes", "gauge", "Verified bytes that nodes read at origins, of shard tasks.")
HELD = Metric("modeldist_server_held_bytes", "gauge", "Distinct verified bytes that nodes hold, of shard tasks.")
RATIO = Metric(
    "modeldist_server_task_origin_ratio",
    "gauge",
    "A of the shard tasks with the highest, 20 at most, of those where something was read at the origin: bytes read "
    "there over distinct bytes held.",
    ("task",),
)
PULLS = Metric("modeldist_server_pulls", "gauge", "Pulls, made over REST, that run.")
ENDED = Metric("modeldist_server_pulls_ended_total", "counter", "Those that ended.", ("state",))
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
        AGENTS,
        HEARD,
        LOAD_AGE,
        QUEUE,
        STUCK,
        TASKS,
        LEASES,
        LEASE_IDLE,
        ORIGIN,
        HELD,
        RATIO,
        PULLS,
        ENDED,
        REQUESTS,
        SECONDS,
    ]
)
