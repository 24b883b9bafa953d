"""The figures of one measurement."""

from __future__ import annotations

import msgspec

from modeldist.control.load.ledger import Ledger, Phase, percentile

BAR_AGENTS = 5000
BAR_P99 = 0.050  # seconds
BAR_BYTES = 100_000  # per agent


class Latency(msgspec.Struct, frozen=True):
    """Of `count` answers, in seconds, from the ask leaving the agent to the answer's arrival there."""

    count: int
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: list[float]) -> Latency:
        half, most, last = (percentile(seconds, share) for share in (0.5, 0.99, 1.0))
        return cls(len(seconds), half, most, last)


class LoadResult(msgspec.Struct, frozen=True):
    """Rates per second, times in seconds, sizes in bytes. `server_cpu`: share of one core. `lag`: of the agents'
    own process, which latencies contain. `late_reports`: sent late, or not taken by the server in time."""

    agents: int
    seconds: float
    answers: Latency
    by_kind: dict[str, Latency]
    reports: float
    asks: float
    messages: float  # from the control plane
    server_cpu: float
    agents_cpu: float
    server_bytes: int  # resident, before the first agent
    bytes_per_agent: float  # growth of resident memory over it, at the end
    joins: Latency
    joined_in: float  # the last of those that connected at once
    joined_at_once: int
    answers_in_storm: Latency
    unanswered: int
    late_reports: int
    dropped: dict[str, int]
    wrong: dict[str, int]
    complaints: dict[str, int]  # of the server's log
    lag: Latency
    lag_in_storm: Latency

    @property
    def sound(self) -> bool:
        """Nothing was lost, refused or left without an answer."""
        return not (self.unanswered or self.dropped or self.wrong)

    @property
    def met(self) -> bool:
        """The bar of docs/performance.md."""
        return (
            self.sound
            and self.agents >= BAR_AGENTS
            and self.answers.p99 <= BAR_P99
            and self.bytes_per_agent <= BAR_BYTES
        )


def latencies(ledger: Ledger, phase: Phase) -> dict[str, Latency]:
    """By kind of answer."""
    return {kind: Latency.of(some) for (when, kind), some in sorted(ledger.answers.items()) if when == phase}


def table(result: LoadResult) -> str:
    """For people: one line a figure."""
    answers, storm, joins = result.answers, result.answers_in_storm, result.joins
    rows = [
        ("agents, reports a second, asks a second", f"{result.agents}, {result.reports:.0f}, {result.asks:.0f}"),
        ("answer: p50 / p99 / max", _ms(answers)),
        *((f"  {kind} ({some.count})", _ms(some)) for kind, some in result.by_kind.items()),
        ("server, share of its core", f"{result.server_cpu:.0%}"),
        ("messages to agents a second", f"{result.messages:.0f}"),
        (
            "server's memory per agent",
            f"{result.bytes_per_agent / 1000:.1f} kB over {result.server_bytes / 1e6:.0f} MB",
        ),
        (f"{result.joined_at_once} agents at once: all joined in", f"{result.joined_in:.2f} s"),
        ("  join, p50 / p99 / max", _ms(joins)),
        ("  answer to the others meanwhile", _ms(storm)),
        ("unanswered, late reports, dropped", f"{result.unanswered}, {result.late_reports}, {result.dropped or 0}"),
        ("agents' own process: share of its core", f"{result.agents_cpu:.0%}"),
        ("  its lag; in the storm", f"{_ms(result.lag)}; {_ms(result.lag_in_storm)}"),
    ]
    if result.wrong or result.complaints:
        rows.append(("wrong; complaints of the server", f"{result.wrong or 'none'}; {result.complaints or 'none'}"))
    return "\n".join(f"{name:<52}{value}" for name, value in rows)


def _ms(latency: Latency) -> str:
    return f"{latency.p50 * 1000:.1f} / {latency.p99 * 1000:.1f} / {latency.max * 1000:.1f} ms"
