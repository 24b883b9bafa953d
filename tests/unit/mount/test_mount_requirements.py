"""What a machine lacks is named, with what to do about it, before anything is fetched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modeldist.errors import MountFailed
from modeldist.mount import requirements


def test_pyfuse3_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "pyfuse3", raising=False)
    with pytest.raises(MountFailed, match=r"pyfuse3, which is not installed.*libfuse3-dev.*modeldist\[mount\]"):
        requirements.check(allow_other=False)


@pytest.fixture
def with_pyfuse3() -> None:
    pytest.importorskip("pyfuse3", reason="pyfuse3 is not built here")


@pytest.mark.usefixtures("with_pyfuse3")
def test_the_device_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(requirements, "DEVICE", tmp_path / "fuse")
    with pytest.raises(MountFailed, match=r"fuse is not there\. .*modprobe fuse.*--device /dev/fuse"):
        requirements.check(allow_other=False)


@pytest.fixture
def as_user(with_pyfuse3: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One who may use FUSE, and not mount."""
    monkeypatch.setattr(requirements, "may_mount", lambda: False)
    monkeypatch.setattr(requirements, "DEVICE", tmp_path)
    monkeypatch.setattr(requirements, "CONFIGURATION", tmp_path / "fuse.conf")
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "fusermount3"
    program.touch()
    program.chmod(0o755)


@pytest.mark.usefixtures("as_user")
def test_the_program_that_mounts_for_users_is_missing(tmp_path: Path) -> None:
    requirements.check(allow_other=False)
    (tmp_path / "fusermount3").unlink()
    with pytest.raises(MountFailed, match=r"fusermount3, which is not installed.*apt install fuse3"):
        requirements.check(allow_other=False)


@pytest.mark.usefixtures("as_user")
def test_other_users_must_be_allowed_by_root(tmp_path: Path) -> None:
    (tmp_path / "fuse.conf").write_text("# user_allow_other\n")
    with pytest.raises(MountFailed, match=r"user_allow_other.*fuse\.conf"):
        requirements.check(allow_other=True)
    (tmp_path / "fuse.conf").write_text("user_allow_other\n")
    requirements.check(allow_other=True)
