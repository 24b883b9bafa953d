"""`modeldist mount` by a user who may not mount: by fusermount3, and through FUSE to the end."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.errors import MountFailed
from modeldist.mount import requirements
from tests.integration.mount.mounts import Shell, is_fuse, needs_fuse
from tests.servers.hub import Hub

pytestmark = [
    needs_fuse,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("fusermount3") or not shutil.which("setpriv"),
        reason="becoming a user needs root and setpriv, and a user fusermount3",
    ),
    pytest.mark.skipif(not os.path.lexists("/etc/mtab"), reason="fusermount3 unmounts nothing without /etc/mtab"),
]

NOBODY = 65534
# One that can read this checkout wherever it is, and nothing else.
READING = "+dac_override,+dac_read_search"
AS_NOBODY = (
    *("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"),
    *("--inh-caps", READING, "--ambient-caps", READING),
)


@pytest.fixture(scope="module")
def device() -> Iterator[None]:
    """Users may open it, as where udev has set it up; not every machine has udev."""
    path = Path("/dev/fuse")
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o666)
    yield
    path.chmod(before)


@pytest.fixture
def users(hub: Hub, device: None) -> Iterator[Shell]:
    """In a directory that fusermount3 can reach as the user."""
    with tempfile.TemporaryDirectory(prefix="mount-of-nobody-") as home:
        os.chown(home, NOBODY, NOBODY)
        environment = {
            **os.environ,
            "HOME": home,
            "HF_ENDPOINT": hub.url,
            "MODELDIST_STORE": f"{home}/store",
            "MODELDIST_SOCKET": f"{home}/nobody.sock",
        }
        yield Shell(Path(home), environment, AS_NOBODY)


def test_a_user_mounts_reads_and_unmounts(hub: Hub, users: Shell) -> None:
    files = {"config.json": b"{}", "a/weights.bin": bytes(1 << 20)}
    hub.commit("org/users", files)
    with users.mounted("hf://org/users") as mount:
        for path, body in files.items():
            read = subprocess.run([*AS_NOBODY, "cat", str(mount.directory / path)], capture_output=True, check=True)
            assert read.stdout == body
        with pytest.raises(PermissionError):
            list(mount.directory.iterdir())  # not even root, unless it may
        listed = users.run("mount", "hf://org/users", str(mount.directory))
        assert listed.returncode == MountFailed.exit_code
        assert "already" in listed.stderr
        assert is_fuse(mount)
        done = users.run("unmount", str(mount.directory))
        assert (done.returncode, done.stderr) == (0, "")
        assert mount.ended() == 0
        assert mount.types == []


def test_what_a_users_killed_mount_left_is_cleared(hub: Hub, users: Shell) -> None:
    hub.commit("org/users-killed", {"config.json": b"{}"})
    with users.mounted("hf://org/users-killed") as mount:
        mount.process.kill()
        mount.process.wait()
        assert is_fuse(mount)
        with users.mounted("hf://org/users-killed") as again:
            assert "was killed" in again.said
            assert len(again.types) == 1


def test_other_users_need_roots_word(hub: Hub, users: Shell) -> None:
    if requirements._others_allowed():
        pytest.skip("root allows it here")
    hub.commit("org/users-others", {"config.json": b"{}"})
    done = users.run("mount", "hf://org/users-others", str(users.home / "model"), "--allow-other")
    assert done.returncode == MountFailed.exit_code
    assert "user_allow_other" in done.stderr
