"""What an agent reports, and when it has nothing to say."""

from __future__ import annotations

from modeldist.agent.reporter import LOAD_EVERY, Reporter, Unmeasured
from modeldist.scheduler.messages import Report


class Agent:
    def __init__(self) -> None:
        self.now = 100.0
        self.reporter = Reporter(Unmeasured(), lambda: self.now)

    def report(self, *, asked: bool = False) -> Report | None:
        return self.reporter.report([], {}, bytes_in_flight=0, queue=0, asked=asked)


def test_a_node_without_news_reports_as_often_as_it_measures_its_load() -> None:
    agent = Agent()
    said = 0
    for _ in range(40):
        said += agent.report() is not None
        agent.now += LOAD_EVERY / 4
    assert said == 10


def test_a_report_that_was_asked_for_is_sent_without_news() -> None:
    agent = Agent()
    first, second = agent.report(asked=True), agent.report(asked=True)
    assert first is not None
    assert second is not None
    assert second.seq == first.seq + 1
