"""Prometheus metrics: what each means, and how they are written down. Who counts them is in `agent` and `control`."""

from modeldist.metrics.exposition import exposition
from modeldist.metrics.metric import Metric, Sample

__all__ = ["Metric", "Sample", "exposition"]
