"""What a node says of its load where it cannot look."""

from __future__ import annotations

import itertools
import resource

from modeldist.agent.load import LoadMeter
from modeldist.scheduler.messages import Load


def test_without_a_descriptor_its_load_is_unknown_until_there_is_one_again() -> None:
    seconds = itertools.count(100)
    meter = LoadMeter(lambda: float(next(seconds)))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        blind = meter.measure(bytes_in_flight=7, queue=2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert blind == Load(bytes_in_flight=7, queue=2)
    meter.measure()
    assert meter.measure().nic_rx is not None
