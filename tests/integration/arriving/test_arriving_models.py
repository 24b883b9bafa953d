"""A model is readable while it arrives, through the node's agent and without one, as far as it is verified."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from modeldist.agent.this_node import Node
from modeldist.arriving import ArrivingFile, open_model
from modeldist.errors import Cancelled, IntegrityError, InvalidReference, NotFound
from tests.integration.arriving.conftest import content
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault

MIB = 1 << 20
PATIENCE = 30.0


def read(file: ArrivingFile, start: int, stop: int) -> bytes:
    file.wait(start, stop, PATIENCE)
    return os.pread(file.fd, stop - start, start)


def in_directory(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name[0] != "."}


def test_what_has_come_is_readable_before_the_rest(hub: Hub, here: Node) -> None:
    name = f"org/held-{here.agent}"
    files = {"config.json": b"{}", "empty.txt": b"", "model.safetensors": content(name, 9 * MIB)}
    hub.commit(name, files)
    hold = hub.fail(Fault(path="model.safetensors", method="GET", hold_at=5 * MIB, times=99))
    with open_model(f"hf://{name}", here=here) as model:
        assert list(model.files) == sorted(files)
        assert model.reference.startswith(f"hf://{name}@")
        file = model.files["model.safetensors"]
        assert read(file, 0, 200_000) == files["model.safetensors"][:200_000]
        assert not file.proven
        assert 200_000 <= file.ready(0) <= 5 * MIB
        assert file.verified[0][0] == 0 and file.verified[0][1] >= 200_000
        assert file.ready(file.size - 1) == file.size - 1
        with pytest.raises(TimeoutError):
            model.wait_complete(0)
        fd = file.fd
        hold.until.set()
        assert in_directory(model.wait_complete(PATIENCE)) == files
        assert file.proven
        assert file.fd == fd
        assert file.verified == ((0, file.size),)
        assert {name: read(file, 0, file.size) for name, file in model.files.items()} == files
        assert os.path.samestat(os.fstat(fd), (model.wait_complete() / "model.safetensors").stat())
    with pytest.raises(Cancelled):
        file.wait(0, 1)


def test_a_model_that_is_here_is_ready_at_once(hub: Hub, here: Node) -> None:
    name = f"org/again-{here.agent}"
    files = {"a.safetensors": content(name, 2 * MIB), "b.safetensors": content(name, 2 * MIB), "c.json": b"[]"}
    hub.commit(name, files)
    for _ in range(2):
        with open_model(f"hf://{name}", here=here) as model:
            for path, body in files.items():
                model.files[path].wait_proven(PATIENCE)
                assert read(model.files[path], 0, len(body)) == body
            model.wait_complete(PATIENCE)
    assert hub.body_bytes(f"{name}/resolve") == 2 * MIB + 2, "the same content twice is read once"


def test_what_does_not_exist_is_told_at_once(hub: Hub, here: Node) -> None:
    with pytest.raises(NotFound, match="no/where"):
        open_model("hf://no/where", here=here)
    with pytest.raises(InvalidReference):
        open_model("hf://", here=here)


def test_who_waits_learns_what_the_pull_failed_of(hub: Hub, here: Node) -> None:
    name = f"org/away-{here.agent}"
    hub.commit(name, {"model.safetensors": content(name, 3 * MIB), "other.safetensors": content(name + "o", MIB)})
    hub.fail(Fault(path="model.safetensors", method="GET", status=404, times=99))
    with open_model(f"hf://{name}", here=here) as model:
        with pytest.raises(NotFound, match=r"model\.safetensors"):
            model.files["model.safetensors"].wait(0, 1, PATIENCE)
        with pytest.raises(NotFound):
            model.wait_complete(PATIENCE)


def test_what_is_here_stays_readable_when_the_pull_fails(hub: Hub, here: Node) -> None:
    name = f"org/stays-{here.agent}"
    files = {"a.json": b"[1]", "model.safetensors": content(name, 3 * MIB)}
    hub.commit(name, {"a.json": files["a.json"]})
    with open_model(f"hf://{name}", here=here) as model:
        model.wait_complete(PATIENCE)
    hub.commit(name, files)
    hub.fail(Fault(path="model.safetensors", method="GET", status=404, times=99))
    with open_model(f"hf://{name}", here=here) as model:
        with pytest.raises(NotFound):
            model.wait_complete(PATIENCE)
        assert model.files["a.json"].ready() == 3
        assert read(model.files["a.json"], 0, 3) == b"[1]"
        assert model.files["model.safetensors"].ready() == 0


def test_bytes_that_were_ready_and_are_wrong_are_never_taken_for_right(hub: Hub, here: Node) -> None:
    name = f"org/wrong-{here.agent}"
    hub.commit(name, {"model.safetensors": content(name, 3 * MIB)})
    hold = hub.fail(Fault(path="model.safetensors", method="GET", garble=True, hold_at=MIB, times=99))
    with open_model(f"hf://{name}", here=here) as model:
        file = model.files["model.safetensors"]
        file.wait(0, 100, PATIENCE)
        assert not file.proven
        hold.until.set()
        with pytest.raises(IntegrityError):
            file.wait_proven(PATIENCE)
        with pytest.raises(IntegrityError):
            model.wait_complete(PATIENCE)


def test_closing_lets_go_of_who_waits_and_keeps_what_came(hub: Hub, here: Node) -> None:
    name = f"org/closed-{here.agent}"
    body = content(name, 6 * MIB)
    hub.commit(name, {"model.safetensors": body})
    hold = hub.fail(Fault(path="model.safetensors", method="GET", hold_at=3 * MIB, times=99))
    caught: list[BaseException] = []
    with open_model(f"hf://{name}", here=here) as model:
        file = model.files["model.safetensors"]
        file.wait(0, 200_000, PATIENCE)

        def wait() -> None:
            try:
                file.wait(0, file.size, PATIENCE)
            except BaseException as error:
                caught.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        hold.until.set()
        hub.heal()
    waiting.join(PATIENCE)
    assert not caught or isinstance(caught[0], Cancelled)
    with open_model(f"hf://{name}", here=here) as model:
        assert read(model.files["model.safetensors"], 0, len(body)) == body


def test_bytes_that_a_file_does_not_have(hub: Hub, here: Node) -> None:
    name = f"org/beyond-{here.agent}"
    hub.commit(name, {"a.json": b"{}"})
    with open_model(f"hf://{name}", here=here) as model:
        with pytest.raises(ValueError, match=r"a\.json"):
            model.files["a.json"].wait(0, 3)
        model.files["a.json"].wait(2, 2, PATIENCE)
        assert model.wait_complete(PATIENCE).joinpath("a.json").read_bytes() == b"{}"


def test_what_a_reader_waits_for_is_what_the_origin_is_asked_for_next(hub: Hub, here: Node) -> None:
    name = f"org/wished-{here.agent}"
    bodies = {f"model-{n}.safetensors": content(f"{name}{n}", 40 * MIB) for n in range(3)}
    hub.commit(name, bodies)
    hold = hub.fail(Fault(path=".safetensors", method="GET", hold_at=0, times=99))
    with open_model(f"hf://{name}", here=here) as model:
        assert hold.held.wait(PATIENCE)
        last = model.files["model-2.safetensors"]
        model.want([(last, 30 * MIB, 31 * MIB)])
        hold.until.set()
        assert read(last, 30 * MIB, 31 * MIB) == bodies["model-2.safetensors"][30 * MIB : 31 * MIB]
        model.wait_complete(PATIENCE)
        for path, body in bodies.items():
            assert read(model.files[path], 0, len(body)) == body
    asked = [r for r in hub.asked(f"{name}/resolve", "GET") if r.range is not None]
    spans = [(r.path.rpartition("/")[2], *(r.range or (0, 0))) for r in asked]
    place = next(
        n for n, (path, first, end) in enumerate(spans) if path == last.path and first <= 30 * MIB <= (end or 0)
    )
    before = sum((end or 0) - first + 1 for _, first, end in spans[:place])
    # Eight streams had a lease of up to 4 MiB each when the wish came.
    assert before <= 32 * MIB, f"of 120 MiB, read before what was waited for: {before >> 20} MiB"
    assert hub.body_bytes(f"{name}/resolve") == 3 * 40 * MIB, "each byte once"


@pytest.mark.slow
def test_a_file_that_does_not_come_holds_up_no_other_that_is_waited_for(hub: Hub, here: Node) -> None:
    name = f"org/hangs-{here.agent}"
    bodies = {f"model-{n}.safetensors": content(f"{name}{n}", 40 * MIB) for n in range(3)}
    hub.commit(name, bodies)
    hold = hub.fail(Fault(path="model-0.safetensors", method="GET", hold_at=100_000, times=99))
    with open_model(f"hf://{name}", here=here) as model:
        assert hold.held.wait(PATIENCE)
        for path in ("model-2.safetensors", "model-1.safetensors"):
            file = model.files[path]
            model.want([(file, 30 * MIB, 31 * MIB)])
            assert read(file, 30 * MIB, 31 * MIB) == bodies[path][30 * MIB : 31 * MIB]
        assert not hold.until.is_set()
        hold.until.set()
        hub.heal()
        assert in_directory(model.wait_complete(PATIENCE)) == bodies
