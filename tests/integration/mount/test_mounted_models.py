"""`modeldist mount`: a model is a directory before it has arrived, for programs that know nothing of it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tests.integration.mount.mounts import MIB, Shell, is_fuse, needs_fuse
from tests.servers.cluster import PATIENCE, wait_until
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault

pytestmark = needs_fuse


def content(seed: str, size: int) -> bytes:
    return Random(seed).randbytes(size)


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_a_model_is_there_before_its_bytes_and_each_byte_when_it_is_read(
    hub: Hub, shell: Shell, gate: threading.Event
) -> None:
    files = {
        "config.json": b"{}",
        "1_Pooling/config.json": b"[]",
        "empty.txt": b"",
        "model.safetensors": content("there", 12 * MIB),
    }
    hub.commit("org/there", files)
    hub.fail(Fault(path="model.safetensors", method="GET", hold_at=2 * MIB, times=99, until=gate))
    with shell.mounted("hf://org/there", "--no-direct") as mount:
        found = {str(p.relative_to(mount.directory)): p.stat() for p in mount.directory.rglob("*")}
        assert {path: about.st_size for path, about in found.items() if path != "1_Pooling"} == {
            path: len(body) for path, body in files.items()
        }
        assert (mount.directory / "1_Pooling/config.json").read_bytes() == b"[]"
        with (mount.directory / "model.safetensors").open("rb", buffering=0) as file:
            assert file.read(4096) == files["model.safetensors"][:4096]
            with ThreadPoolExecutor() as pool:
                end = pool.submit(os.pread, file.fileno(), MIB, 11 * MIB)
                assert not gate.is_set()
                assert (mount.directory / "config.json").read_bytes() == b"{}", "nobody waits for a reader that waits"
                gate.set()
                assert end.result(PATIENCE) == files["model.safetensors"][11 * MIB :]
        assert tree(mount.directory) == files
        assert is_fuse(mount)
        assert mount.process.poll() is None
    assert mount.process.returncode == 0
    assert shell.run("verify").returncode == 0


def test_once_all_is_here_the_directory_shows_the_stores_own_files(
    hub: Hub, shell: Shell, gate: threading.Event
) -> None:
    files = {"a/config.json": b"{}", "empty.txt": b"", "model.safetensors": content("direct", 3 * MIB)}
    hub.commit("org/direct", files)
    hub.fail(Fault(path="model.safetensors", method="GET", hold_at=MIB, times=99, until=gate))
    with shell.mounted("hf://org/direct") as mount:
        assert is_fuse(mount)
        with (mount.directory / "model.safetensors").open("rb") as before:
            gate.set()
            wait_until("the direct mount", lambda: not is_fuse(mount))
            assert tree(mount.directory) == files
            assert before.read() == files["model.safetensors"]
        (blob,) = (
            path for path in (shell.home / "store/blobs").rglob("*") if path.is_file() and path.stat().st_size > MIB
        )
        assert os.path.samestat(blob.stat(), (mount.directory / "model.safetensors").stat())
        with pytest.raises(OSError, match="Read-only"):
            (mount.directory / "a/config.json").write_bytes(b"x")
        assert shell.run("rm", "hf://org/direct").returncode == 0
        assert tree(mount.directory) == files, "what is removed from the store stays where it is mounted"
        done = shell.run("unmount", str(mount.directory))
        assert (done.returncode, done.stderr) == (0, "")
        assert mount.ended() == 0
        assert mount.types == []
    assert not list(mount.directory.iterdir())
    assert not (shell.home / "store/mounts").is_dir() or not list((shell.home / "store/mounts").glob("*/files"))


def test_a_direct_mount_that_somebody_else_unmounts_is_gone_altogether(hub: Hub, shell: Shell) -> None:
    hub.commit("org/umount", {"config.json": b"{}"})
    with shell.mounted("hf://org/umount") as mount:
        wait_until("the direct mount", lambda: not is_fuse(mount))
        subprocess.run(["umount", str(mount.directory)], check=True)
        assert mount.ended() == 0
        assert mount.types == []


def test_safetensors_opens_a_model_before_the_pull_is_complete(hub: Hub, shell: Shell, gate: threading.Event) -> None:
    numpy = pytest.importorskip("numpy")
    from safetensors.numpy import save

    tensors = {f"layers.{at:02}.weight": numpy.full((256, 1024), at, "f4") for at in range(12)}
    hub.commit("org/tensors", {"model.safetensors": save(tensors)})
    hub.fail(Fault(path="model.safetensors", method="GET", hold_at=6 * MIB, times=99, until=gate))
    program = """
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], "np") as file:
    print(len(list(file.keys())), flush=True)
    for at in (0, 2, 11):
        print(file.get_tensor(f"layers.{at:02}.weight").mean(), flush=True)
"""
    with shell.mounted("hf://org/tensors") as mount:
        reader = subprocess.Popen(
            [sys.executable, "-c", program, str(mount.directory / "model.safetensors")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert reader.stdout is not None
        with reader.stdout:
            assert [reader.stdout.readline() for _ in range(3)] == ["12\n", "0.0\n", "2.0\n"]
            assert not gate.is_set()
            gate.set()
            assert reader.stdout.readline() == "11.0\n"
        assert reader.wait(PATIENCE) == 0


def test_32_threads_read_at_random_while_it_arrives(hub: Hub, shell: Shell) -> None:
    body = content("random", 24 * MIB)
    hub.commit("org/random", {"a.safetensors": body, "b.safetensors": body[::-1]})
    with shell.mounted("hf://org/random", "--no-direct") as mount:

        def read(seed: int) -> int:
            random = Random(seed)
            bad = 0
            for name, expected in (("a.safetensors", body), ("b.safetensors", body[::-1])):
                fd = os.open(mount.directory / name, os.O_RDONLY)
                try:
                    for _ in range(10):
                        at, size = random.randrange(len(body)), random.randrange(1, 300_000)
                        bad += os.pread(fd, size, at) != expected[at : at + size]
                finally:
                    os.close(fd)
            return bad

        with ThreadPoolExecutor(32) as pool:
            assert sum(pool.map(read, range(32))) == 0


def test_a_killed_mount_fails_its_readers_leaves_the_store_sound_and_is_mounted_again(
    hub: Hub, shell: Shell, gate: threading.Event
) -> None:
    body = content("killed", 24 * MIB)
    hub.commit("org/killed", {"model.safetensors": body})
    hub.fail(Fault(path="model.safetensors", method="GET", hold_at=9 * MIB, times=99, until=gate))
    with shell.mounted("hf://org/killed") as mount:
        fd = os.open(mount.directory / "model.safetensors", os.O_RDONLY)
        assert os.pread(fd, 4 * MIB, 0) == body[: 4 * MIB]
        caught: list[OSError] = []
        waits = threading.Event()

        def read() -> None:
            waits.set()
            try:
                os.pread(fd, MIB, 20 * MIB)
            except OSError as error:
                caught.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        waits.wait()
        mount.process.kill()
        reader.join(PATIENCE)
        assert [error.errno for error in caught] == [errno.EIO]
        with suppress(OSError):
            os.close(fd)
        with pytest.raises(OSError) as told:
            list(mount.directory.iterdir())
        assert told.value.errno == errno.EIO
        before = len(hub.requests)
        gate.set()
        hub.heal()
        with shell.mounted("hf://org/killed") as again:
            assert "was killed" in again.said
            assert (again.directory / "model.safetensors").read_bytes() == body
            asked = [each.range for each in hub.requests[before:] if "resolve" in each.path and each.method == "GET"]
            assert asked
            assert all(wanted and wanted[0] >= 4 * MIB for wanted in asked), "what was here before is not asked for"
    assert shell.run("verify").returncode == 0


def test_a_direct_mount_outlives_who_made_it_and_is_made_anew(hub: Hub, shell: Shell) -> None:
    hub.commit("org/outlives", {"config.json": b"{}"})
    with shell.mounted("hf://org/outlives") as mount:
        wait_until("the direct mount", lambda: not is_fuse(mount))
        mount.process.kill()
        mount.process.wait()
        assert tree(mount.directory) == {"config.json": b"{}"}
        with shell.mounted("hf://org/outlives") as again:
            assert "was killed" in again.said
            assert tree(mount.directory) == {"config.json": b"{}"}
            assert len(again.types) <= 2
        assert mount.types == []


def test_who_reads_what_cannot_be_fetched_gets_an_error_and_the_mount_says_why(hub: Hub, shell: Shell) -> None:
    body = content("away", 3 * MIB)
    hub.commit("org/away", {"config.json": b"{}", "model.safetensors": body})
    hub.fail(Fault(path="model.safetensors", method="GET", status=404, times=99))
    with shell.mounted("hf://org/away") as mount:
        with pytest.raises(OSError) as caught:
            (mount.directory / "model.safetensors").read_bytes()
        assert caught.value.errno == errno.EIO
        assert "model.safetensors: input/output error for its readers" in mount.said
        # It may not have come before the pull failed; then the next one brings it.
        wait_until("what can be fetched", lambda: readable(mount.directory / "config.json"))
        assert (mount.directory / "config.json").read_bytes() == b"{}"
        hub.heal()
        wait_until("it to be tried again", lambda: readable(mount.directory / "model.safetensors"))
        assert (mount.directory / "model.safetensors").read_bytes() == body
    assert mount.process.returncode == 0


def readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_a_file_that_proves_wrong_fails_its_reader_at_its_end(hub: Hub, shell: Shell) -> None:
    hub.commit("org/wrong", {"config.json": b"{}", "model.safetensors": content("wrong", 3 * MIB)})
    hub.fail(Fault(path="model.safetensors", method="GET", garble=True, times=99))
    with shell.mounted("hf://org/wrong") as mount:
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                (mount.directory / "model.safetensors").read_bytes()
            assert caught.value.errno == errno.EIO
        assert "model.safetensors" in mount.said
        assert (mount.directory / "config.json").read_bytes() == b"{}"


def test_only_proven_bytes_are_read_where_that_is_asked_for(hub: Hub, shell: Shell, gate: threading.Event) -> None:
    body = content("proven", 9 * MIB)
    hub.commit("org/proven", {"config.json": b"{}", "model.safetensors": body})
    hub.fail(Fault(path="model.safetensors", method="GET", hold_at=5 * MIB, times=99, until=gate))
    with shell.mounted("hf://org/proven", "--only-proven") as mount, ThreadPoolExecutor() as pool:
        assert (mount.directory / "config.json").read_bytes() == b"{}"
        with (mount.directory / "model.safetensors").open("rb", buffering=0) as file:
            reading = pool.submit(file.read, 100)
            gate.set()
            assert reading.result(PATIENCE) == body[:100]
        assert tree(mount.directory)["model.safetensors"] == body


def test_a_signal_ends_it_while_readers_wait(hub: Hub, shell: Shell, gate: threading.Event) -> None:
    hub.commit("org/waiting", {"model.safetensors": content("waiting", 9 * MIB)})
    hub.fail(Fault(path="model.safetensors", method="GET", hold_at=MIB, times=99, until=gate))
    with shell.mounted("hf://org/waiting") as mount, ThreadPoolExecutor() as pool:
        fd = os.open(mount.directory / "model.safetensors", os.O_RDONLY)
        reading = pool.submit(os.pread, fd, 4096, 8 * MIB)
        mount.process.terminate()
        assert mount.ended() == 0
        gate.set()
        with pytest.raises(OSError) as caught:
            reading.result(PATIENCE)
        assert caught.value.errno == errno.EIO
        with suppress(OSError):
            os.close(fd)
        assert mount.types == []


def test_what_was_read_first_is_fetched_first_the_next_time(hub: Hub, shell: Shell, gate: threading.Event) -> None:
    body = content("order", 24 * MIB)
    hub.commit("org/order", {"model.safetensors": body})
    hub.fail(Fault(path="model.safetensors", method="GET", hold_at=MIB, times=99, until=gate))
    with shell.mounted("hf://org/order") as mount, ThreadPoolExecutor() as pool:
        fd = os.open(mount.directory / "model.safetensors", os.O_RDONLY)
        reading = pool.submit(os.pread, fd, 4096, 17 * MIB)
        gate.set()
        assert reading.result(PATIENCE) == body[17 * MIB :][:4096]
        os.close(fd)
    (record,) = (shell.home / "store/access").iterdir()
    assert record.read_text().split('"reads":[')[1].startswith('["model.safetensors",16777216,')


def test_a_model_with_archives_is_mounted_when_all_of_it_is_here(shell: Shell) -> None:
    files = {"config.json": b"{}", "code/run.py": b"print()", "weights.bin": content("packed", MIB)}
    for path, body in files.items():
        (shell.home / "packed" / path).parent.mkdir(parents=True, exist_ok=True)
        (shell.home / "packed" / path).write_bytes(body)
    built = shell.run(
        "build",
        str(shell.home / "packed"),
        "-t",
        "docker.io/org/packed:v1",
        "--encoding",
        "tar",
        "-o",
        str(shell.home / "l"),
    )
    assert built.returncode == 0, built.stderr
    with shell.mounted(f"oci-layout:{shell.home}/l:v1", "--no-direct") as mount:
        assert "it is mounted when all of it is here" in mount.said
        assert tree(mount.directory) == files
    assert mount.process.returncode == 0
