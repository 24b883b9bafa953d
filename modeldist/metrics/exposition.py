"""Samples as Prometheus reads them. Those of one scrape are looked up for it: nothing is counted on the data path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from modeldist.metrics.histogram import Histogram
from modeldist.metrics.metric import Metric, Sample


def exposition(samples: Iterable[Sample | Histogram], accept: str = "") -> tuple[bytes, str]:
    """The body and its content type, in the format that `accept` (the request's header) asks for."""
    encode, content_type = choose_encoder(accept)
    return encode(_Once(list(samples))), content_type


class _Once(Collector):
    def __init__(self, samples: list[Sample | Histogram]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        for metric, group in groupby(self._samples, lambda sample: sample.metric):
            same = list(group)
            yield from _histograms(same) if metric.kind == "histogram" else [_family(metric, same)]


def _histograms(group: Iterable[Sample | Histogram]) -> Iterator[Family]:
    for histogram in group:
        assert isinstance(histogram, Histogram)
        yield histogram.family()


def _family(metric: Metric, group: Iterable[Sample | Histogram]) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.says, labels=metric.labels)
    for sample in group:
        assert isinstance(sample, Sample)
        family.add_metric(sample.labels, sample.value)
    return family
