"""`modeldist mount` and `unmount` at a shell: what they say and refuse, and what they leave."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest

from modeldist.errors import MountFailed, NotFound
from modeldist.mount import syscalls
from modeldist.mount.mount_table import mounted_at
from tests.integration.mount.mounts import Shell, needs_fuse
from tests.servers.hub import Hub

pytestmark = needs_fuse


@pytest.fixture
def reference(hub: Hub) -> str:
    hub.commit("org/small", {"config.json": b"{}"})
    return "hf://org/small"


def refused(shell: Shell, *arguments: str) -> str:
    done = shell.run(*arguments)
    assert (done.returncode, done.stdout) == (MountFailed.exit_code, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_in_the_background_it_returns_when_it_can_be_read(shell: Shell, reference: str) -> None:
    directory, link = shell.home / "a b" / "model", shell.home / "link"
    directory.mkdir(parents=True)
    link.symlink_to(directory)
    done = shell.run("mount", reference, str(link), "--background", "--json")
    try:
        assert (done.returncode, done.stderr) == (0, "")
        said = json.loads(done.stdout)
        assert said["directory"] == str(directory)
        assert said["reference"].startswith("hf://org/small@")
        assert (link / "config.json").read_bytes() == b"{}"
        for store in ("store", "another"):
            said_no = refused(shell, "mount", reference, str(directory), "--store", str(shell.home / store))
            assert f"{directory} is a mount of hf://org/small@" in said_no
        assert shell.run("unmount", str(link)).returncode == 0
        assert mounted_at(directory) == []
    finally:
        with suppress(OSError):
            while mounted_at(directory):
                syscalls.detach(directory)


def test_what_fails_in_the_background_is_said_here(shell: Shell) -> None:
    done = shell.run("mount", "hf://no/where", str(shell.home / "model"), "--background")
    assert (done.returncode, done.stdout) == (NotFound.exit_code, "")
    assert done.stderr.startswith("modeldist: ")
    assert "no/where" in done.stderr


def test_nothing_is_hidden_by_a_mount(shell: Shell, reference: str) -> None:
    (shell.home / "full").mkdir()
    (shell.home / "full/file").touch()
    assert "full is not empty" in refused(shell, "mount", reference, str(shell.home / "full"))
    assert "file is no directory to mount at" in refused(shell, "mount", reference, str(shell.home / "full/file"))


def test_only_our_mounts_are_unmounted(shell: Shell) -> None:
    assert f"{shell.home} is not mounted" in refused(shell, "unmount", str(shell.home))
    assert "type proc that is not modeldist's" in refused(shell, "unmount", "/proc")


def test_who_has_files_open_keeps_them(shell: Shell, reference: str) -> None:
    with shell.mounted(reference, "--no-direct") as mount:
        with (mount.directory / "config.json").open("rb") as file:
            assert "is in use" in refused(shell, "unmount", str(mount.directory))
            assert mount.process.poll() is None
            done = shell.run("unmount", "--lazy", str(mount.directory))
            assert (done.returncode, done.stderr) == (0, "")
            assert mount.types == []
            assert file.read() == b"{}"
        assert mount.ended() == 0


def test_a_model_of_more_files_than_a_shell_grants_descriptors(shell: Shell, hub: Hub) -> None:
    files = {f"{number}.txt": str(number).encode() for number in range(300)}
    hub.commit("org/many-files", files)
    few = replace(shell, inside=("bash", "-c", 'ulimit -S -n 200; exec "$0" "$@"'))
    with few.mounted("hf://org/many-files", "--no-direct") as mount:
        assert {path.name: path.read_bytes() for path in mount.directory.iterdir()} == files
        assert mount.said == ""
