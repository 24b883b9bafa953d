"""A burst of pulls, far more than may run at once: `python -m modeldist.bench overload`."""

from __future__ import annotations

import argparse
import asyncio

import msgspec

from modeldist.bench import machine
from modeldist.bench.burst.plan import BurstPlan
from modeldist.bench.burst.result import BurstResult
from modeldist.bench.burst.run import measure
from modeldist.bench.options import count, seconds
from modeldist.bench.report import table, write_section
from modeldist.control.load.result import Latency


def main(arguments: list[str] | None = None) -> None:
    plan = BurstPlan()
    parser = argparse.ArgumentParser(prog="python -m modeldist.bench overload", description=__doc__)
    parser.add_argument("--pulls", type=count, default=plan.pulls, help="at once, each on a node of its own")
    parser.add_argument("--ceiling", type=count, help="of pulls that run; default: a quarter of them")
    parser.add_argument("--models", type=count, default=plan.models, help="different ones")
    parser.add_argument("--seconds", type=seconds, default=plan.seconds, help="that a node takes for a model")
    parser.add_argument("--json", action="store_true", help="the result for programs")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args(arguments)
    ceiling = options.ceiling or max(1, options.pulls // 4)
    plan = BurstPlan(pulls=options.pulls, ceiling=ceiling, models=options.models, seconds=options.seconds)
    found = machine.look().sentence()
    result = asyncio.run(measure(plan))
    text = described(plan, result)
    print(msgspec.json.encode(result).decode() if options.json else f"{found}\n\n{text}")
    if options.write:
        command = f"python -m modeldist.bench overload --pulls {plan.pulls}"
        write_section("overload", f"## Overload: {plan.pulls:,} pulls at once\n`{command}`. {found}.\n\n{text}")
    if not result.sound:
        raise SystemExit(1)


def described(plan: BurstPlan, result: BurstResult) -> str:
    """Markdown."""
    parts = result.by_priority
    refused = [sum(getattr(part, code) for part in parts.values()) for code in ("overloaded", "share_used_up")]
    order = "prefetches were refused before pulls for serving" if result.shed_in_order else "NOT in the right order"
    figures = [
        ("completed", f"{sum(part.pulls for part in parts.values()):,} of {result.asked:,}", f"{result.asked:,}"),
        ("failed", f"{sum(result.failed.values())}", "0"),
        ("refused and asked again: 503, 429", f"{refused[0]:,}, {refused[1]:,}", ""),
        ("all completed after", f"{result.seconds:.1f} s", ""),
        ("answer of any request, p50 / p99", _ms(result.answers), ""),
        (
            "nodes' own pulls, completed",
            f"{result.sessions_completed.count:,} of {result.nodes:,}",
            f"{result.nodes:,}",
        ),
        ("refused and asked again: resolve, join", _of_sessions(result), ""),
        ("all completed after", f"{result.sessions_seconds:.1f} s", ""),
        ("server's memory: empty, with all nodes, most, after", _memory(result), ""),
        ("above what it had with all nodes, at most", f"{_above(result):.2f} times", ""),
        ("server's CPU, from the start to the end", f"{result.server_cpu:.1f} s", ""),
    ]
    head = ("seconds", "pulls", "503", "429", "let in, p50", "p99", "completed, p50", "p99")
    rows = [
        (
            name,
            *(f"{number:,}" for number in (part.pulls, part.overloaded, part.share_used_up)),
            *_seconds(part.accepted),
            *_seconds(part.completed),
        )
        for name, part in parts.items()
    ]
    failures = "".join(f"\n- {count} × {words}" for words, count in result.failed.items())
    return (
        f"{plan.pulls:,} clients ask for a pull over REST at the same moment, with {plan.tokens} tokens, every second "
        f"of them for a prefetch, of {plan.models} models, each on a node of its own; {plan.ceiling:,} may run, and "
        f"each takes {plan.seconds:g} s once it is let in. Before that {result.nodes:,} nodes connect and pull by "
        f"themselves, all at the same moment. In the burst {order}.\n\n"
        f"{table(('', 'measured', 'bar'), figures)}\n\n{table(head, rows)}\n{failures}"
    )


def _ms(latency: Latency) -> str:
    return f"{latency.p50 * 1000:.0f} / {latency.p99 * 1000:.0f} ms"


def _seconds(latency: Latency) -> tuple[str, ...]:
    return (f"{latency.p50:.1f}", f"{latency.p99:.1f}")


def _of_sessions(result: BurstResult) -> str:
    counted = dict.fromkeys(("resolve", "join"), 0)
    for what, number in result.sessions_refused.items():
        counted[what.partition(":")[0]] += number
    return f"{counted['resolve']:,}, {counted['join']:,}"


def _memory(result: BurstResult) -> str:
    return (
        ", ".join(f"{size / 1e6:.0f}" for size in (result.empty, result.connected, result.peak, result.after)) + " MB"
    )


def _above(result: BurstResult) -> float:
    return result.peak / result.connected
