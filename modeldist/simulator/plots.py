"""PNG charts of results: when nodes were complete, what the origin sent, what uplinks carried. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_GB = 1e9


def draw(results: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """`results` as `Result.as_dict` gives them; returns the files written. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, title, fill in (
        ("completion", "Nodes complete, by time over the fluid limit", _completion),
        ("origin", "Bytes the origin sent, GB", _origin),
        ("uplinks", "Bytes each node sent, over the bytes it wanted, busiest first", _uplinks),
    ):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        fill(axes, results)
        axes.set_title(title)
        axes.grid(alpha=0.3)
        figure.savefig(folder / f"{name}.png", dpi=120)
        written.append(folder / f"{name}.png")
    return written


def _completion(axes: Any, results: Sequence[Mapping[str, Any]]) -> None:
    for result in results:
        times = sorted(node["finished"] / result["bound"] for node in result["nodes"] if node["finished"] is not None)
        shares = [(index + 1) / len(result["nodes"]) for index in range(len(times))]
        axes.step(times, shares, where="post", label=result["name"])
    axes.set_xlabel("time ÷ fluid limit")
    axes.set_ylabel("share of nodes")
    axes.legend(fontsize="small")


def _origin(axes: Any, results: Sequence[Mapping[str, Any]]) -> None:
    labels = [result["name"] for result in results]
    axes.barh(labels, [result["origin_bytes"] / _GB for result in results], label="sent")
    axes.barh(labels, [result["unique_bytes"] / _GB for result in results], height=0.3, label="unique")
    axes.legend(fontsize="small")


def _uplinks(axes: Any, results: Sequence[Mapping[str, Any]]) -> None:
    for result in results:
        sent = sorted((node["sent"] / result["unique_bytes"] for node in result["nodes"]), reverse=True)
        axes.plot([index / max(1, len(sent) - 1) for index in range(len(sent))], sent, label=result["name"])
    axes.set_xlabel("nodes, as a share")
    axes.legend(fontsize="small")
