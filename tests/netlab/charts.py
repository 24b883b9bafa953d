"""PNG charts: when nodes finished, how bytes arrived, contenders side by side. Needs matplotlib (extra `bench`)."""

from __future__ import annotations

from pathlib import Path

from tests.netlab.namespaces import LabError
from tests.netlab.record import Record, median


def draw(record: Record, folder: Path) -> list[Path]:
    """The charts' files. Raises LabError where matplotlib is missing."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise LabError("charts need matplotlib: pip install 'modeldist[bench]'") from None
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_completion(record, folder), _contenders(record, folder)]
    return drawn + [chart for chart in [_arrival(record, folder)] if chart is not None]


def _completion(record: Record, folder: Path) -> Path:
    """Share of the nodes that had everything, over time; one line per contender, its last run."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, found in record["contenders"].items():
        run = found["runs"][-1]
        times = sorted(run["finishes"].values())
        axes.step([0.0, *times], [index / len(times) for index in range(len(times) + 1)], where="post", label=name)
        axes.axvline(run["bound"], color="0.7", linestyle=":")
    axes.set(xlabel="seconds", ylabel="nodes complete", title=f"{record['scenario']} (dotted: the fluid limit)")
    axes.legend()
    return _save(figure, folder / f"{record['scenario']}-completion.png")


def _arrival(record: Record, folder: Path) -> Path | None:
    """Bytes on each node over time, our last run."""
    from matplotlib import pyplot

    runs = record["contenders"].get("modeldist", {}).get("runs", [])
    if not runs or not runs[-1]["progress"]:
        return None
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for node, points in sorted(runs[-1]["progress"].items()):
        axes.plot([time for time, _ in points], [size / 1e6 for _, size in points], label=node)
    axes.set(xlabel="seconds", ylabel="MB verified", title=f"{record['scenario']}: modeldist, node by node")
    axes.legend(fontsize="small")
    return _save(figure, folder / f"{record['scenario']}-arrival.png")


def _contenders(record: Record, folder: Path) -> Path:
    """Median R and A of each."""
    from matplotlib import pyplot

    names = sorted(record["contenders"], key=lambda name: median(record, name, "r"))
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained", sharey=True)
    for axes, key, title in zip(panels, ("r", "a"), ("R: time ÷ fluid limit", "A: origin bytes ÷ model"), strict=True):
        shown = axes.barh(names, [median(record, name, key) for name in names])
        axes.bar_label(shown, fmt="%.2f", padding=3)
        axes.axvline(1.0, color="0.7", linestyle=":")
        axes.set(title=title)
        axes.margins(x=0.15)
    panels[0].invert_yaxis()
    figure.suptitle(str(record["scenario"]))
    return _save(figure, folder / f"{record['scenario']}-contenders.png")


def _save(figure, path: Path) -> Path:  # type: ignore[no-untyped-def]
    from matplotlib import pyplot

    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path
