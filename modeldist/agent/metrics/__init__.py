"""What a node does, for Prometheus."""

from modeldist.agent.metrics.collector import AgentMetrics
from modeldist.agent.metrics.names import AGENT_METRICS

__all__ = ["AGENT_METRICS", "AgentMetrics"]
