from __future__ import annotations

import io

from rich.console import Console

from modeldist.agent.progress import ParentShare, PullSnapshot
from modeldist.cli.live_view import LiveView, draw, shown_shards, total_line
from tests.unit.cli.pulls import GB, pull, shard

SOME = (
    shard("config.json", 600, local=600),
    shard("model-1.safetensors", 5 * GB, origin=GB, peers=2 * GB),
    shard("model-2.safetensors", 4 * GB),
)


def drawn(now: PullSnapshot, *, lines: int = 20, width: int = 120, per_second: float = 0.0) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(draw(now, per_second, lines, width))
    return capture.get().splitlines()


def test_one_line_per_shard_and_one_for_all() -> None:
    lines = drawn(pull(*SOME, parents=(ParentShare("node-b", 2 * GB),)), per_second=1.5e9)
    assert len(lines) == 5
    assert "config.json" in lines[0]
    assert "here 600 B" in lines[0]
    assert "3.00 GB / 5.00 GB" in lines[1]
    assert "origin 1.00 GB · peers 2.00 GB" in lines[1]
    assert "0 B / 4.00 GB" in lines[2]
    assert "3.00 GB of 9.00 GB  1.50 GB/s  4.0 s left" in lines[3]
    assert lines[4] == "from node-b 2.00 GB"


def test_a_bar_is_as_full_as_its_shard() -> None:
    shards = (shard("a", 100), shard("b", 100, origin=50), shard("c", 100, peers=100), shard("empty", 0))
    assert [line.count("━") for line in drawn(pull(*shards))[:4]] == [0, 12, 24, 24]


def test_what_does_not_fit_is_counted_and_what_moves_is_shown() -> None:
    done = [shard(f"done-{number}", 10, origin=10) for number in range(10)]
    moving = [shard(f"moving-{number}", 10, origin=5) for number in range(3)]
    waiting = [shard(f"waiting-{number}", 10) for number in range(10)]
    shards = (*done, *moving, *waiting)
    shown = [each.path for each in shown_shards(shards, 6)]
    assert shown == ["moving-0", "moving-1", "moving-2", "waiting-0", "waiting-1"]
    assert "… and 18 more files" in drawn(pull(*shards), lines=6)
    assert list(shown_shards(shards, 23)) == list(shards)


def test_many_parents_are_counted() -> None:
    parents = tuple(ParentShare(f"node-{number}", number * GB) for number in range(1, 8))
    assert drawn(pull(*SOME, parents=parents))[-1].endswith("node-4 4.00 GB and 3 more nodes")


def test_before_anything_is_known_the_state_is_shown() -> None:
    assert drawn(pull(state="resolving"))[-1] == "org/model:v1  resolving …"
    assert "materialising …" in total_line(pull(shard("a", 10, origin=10), state="materialising"), 0.0, 80)


def test_the_total_line_fits_and_keeps_the_numbers() -> None:
    now = pull(*SOME, reference="registry.example:5000/organisation/model-with-a-long-name:v1")
    whole = total_line(now, 1.5e9, 160)
    assert whole.startswith(f"{now.reference}  3.00 GB of 9.00 GB")
    assert whole.endswith("peers 2.00 GB · here 600 B")
    cut = total_line(now, 1.5e9, 77)
    assert cut.startswith("…") and "3.00 GB of 9.00 GB  1.50 GB/s  4.0 s left" in cut
    for width in range(1, 170):
        assert len(total_line(now, 1.5e9, width)) <= width
    assert "long-name:v1" in cut or "name:v1" in total_line(now, 1.5e9, 60)


def test_an_echoed_interrupt_has_room_on_the_last_line() -> None:
    parents = tuple(ParentShare(f"node-{number}" * 5, GB) for number in range(7))
    for now in (pull(*SOME), pull(*SOME, parents=parents), pull(state="resolving", reference="x" * 100)):
        for width in (40, 80):
            assert len(drawn(now, width=width, per_second=1e9)[-1]) <= width - len("^C")


def test_names_cannot_drive_the_terminal() -> None:
    lines = drawn(pull(shard("evil\x1b[2J[bold]name[/bold].bin", 10)))
    assert "evil�[2J[bold]name[/bold].bin" in lines[0]


def test_it_is_narrow_on_a_narrow_terminal() -> None:
    assert max(map(len, drawn(pull(*SOME), width=50))) <= 50


def test_the_display_leaves_nothing_behind_but_a_cursor() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=30, color_system=None)
    with LiveView(console) as view:
        view.update(pull(*SOME))
        assert "model-1.safetensors" in out.getvalue()
        view.close()
    assert out.getvalue().rfind("\x1b[?25h") > out.getvalue().rfind("\x1b[?25l")
