"""`python -m modeldist.bench control`: 5,000 agents in real sessions with one `modeldist server` on one core.

`modeldist/control/load` has the agents. Measured are answers to pulls (from the ask leaving the agent to candidates or
a lease arriving there), the server's memory per agent, and a storm: all agents that connect at the same moment.
"""

from __future__ import annotations

import argparse
import asyncio

import msgspec

from modeldist.bench import machine
from modeldist.bench.options import count, seconds
from modeldist.bench.report import table, write_section
from modeldist.control.load.plan import LoadPlan
from modeldist.control.load.result import BAR_AGENTS, BAR_BYTES, BAR_P99, Latency, LoadResult
from modeldist.control.load.run import measure


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m modeldist.bench control", description=__doc__)
    parser.add_argument("--agents", type=count, default=LoadPlan().agents)
    parser.add_argument("--seconds", type=seconds, default=30.0, help="measured, after all have joined")
    parser.add_argument("--swarm", type=count, default=LoadPlan().swarm, help="agents that pull the same")
    parser.add_argument("--json", action="store_true", help="the result for programs")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args(arguments)
    plan = LoadPlan(agents=options.agents, seconds=options.seconds, swarm=options.swarm, interval=2.0)
    found = machine.look().sentence()
    result = asyncio.run(measure(plan))
    text = described(plan, result)
    print(msgspec.json.encode(result).decode() if options.json else f"{found}\n\n{text}")
    if options.write:
        command = f"python -m modeldist.bench control --agents {plan.agents} --seconds {plan.seconds:.0f}"
        if plan.swarm != LoadPlan().swarm:
            command += f" --swarm {plan.swarm}"
        name = "control" if plan.swarm == LoadPlan().swarm else f"control-swarm-{plan.swarm}"
        write_section(name, f"## Control plane: {plan.agents:,} agents\n`{command}`. {found}.\n\n{text}")


def described(plan: LoadPlan, result: LoadResult) -> str:
    """Markdown."""
    kinds = {"candidates": "TaskJoined and Parents", "joined": "TaskJoined alone", "lease": "LeaseGranted"}
    answers = [("all answers", result.answers)]
    answers += [(f"{kind}: {kinds[kind]}", latency) for kind, latency in result.by_kind.items()]
    answers += [(f"while {result.joined_at_once:,} others join at once", result.answers_in_storm)]
    answers += [("the agents' own process is late by", result.lag), ("the same in the storm", result.lag_in_storm)]
    figures = [
        ("agents that report every 2 s", f"{result.agents:,}", f"≥ {BAR_AGENTS:,}"),
        ("answer, p99", f"{result.answers.p99 * 1000:.1f} ms", f"≤ {BAR_P99 * 1000:.0f} ms"),
        ("memory per agent", f"{result.bytes_per_agent / 1000:.1f} kB", f"≤ {BAR_BYTES / 1000:.0f} kB"),
        ("server: share of its core", f"{result.server_cpu:.0%}", ""),
        ("reports, pulls, messages to agents a second", _rates(result), ""),
        (f"{result.joined_at_once:,} join at once, the last after", f"{result.joined_in:.1f} s", ""),
        ("unanswered, dropped, late reports", _losses(result), "0"),
    ]
    return (
        f"{plan.tasks} models on about {plan.swarm} nodes each, {plan.asks:.0f} pulls a second begun from nothing (one "
        "in five of a model that nobody has), the others in all stages of theirs. The bar is "
        f"{'met' if result.met else 'NOT met'}.\n\n"
        f"{table(('', 'measured', 'bar'), figures)}\n\n"
        f"{table(('milliseconds', 'count', 'p50', 'p99', 'max'), [_row(*answer) for answer in answers])}"
    )


def _row(name: str, latency: Latency) -> tuple[str, ...]:
    milliseconds = (latency.p50, latency.p99, latency.max)
    return (name, f"{latency.count:,}", *(f"{1000 * value:.1f}" for value in milliseconds))


def _rates(result: LoadResult) -> str:
    return f"{result.reports:,.0f}, {result.asks:,.0f}, {result.messages:,.0f}"


def _losses(result: LoadResult) -> str:
    return f"{result.unanswered}, {sum(result.dropped.values())}, {result.late_reports}"
