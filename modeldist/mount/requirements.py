"""What a mount needs of the machine, each said by its name and with what to do about it."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from modeldist.errors import MountFailed
from modeldist.mount.syscalls import may_mount

DEVICE = Path("/dev/fuse")
CONFIGURATION = Path("/etc/fuse.conf")


def check(*, allow_other: bool) -> None:
    """Raises MountFailed."""
    if find_spec("pyfuse3") is None or find_spec("trio") is None:
        raise MountFailed(
            "Mounting needs pyfuse3, which is not installed.",
            remedy="Install libfuse3-dev, pkg-config and a C compiler (Debian: apt install libfuse3-dev pkg-config gcc "
            "python3-dev), then `pip install 'modeldist[mount]'`.",
        )
    try:
        import pyfuse3  # noqa: F401
    except ImportError as error:
        raise MountFailed(
            f"pyfuse3 cannot be loaded: {error}.", remedy="Install libfuse 3 (Debian: apt install libfuse3-3)."
        ) from None
    if not DEVICE.exists():
        raise MountFailed(
            f"{DEVICE} is not there.",
            remedy="Load the kernel module (`modprobe fuse`); give a container the device (docker: --device /dev/fuse "
            "--cap-add SYS_ADMIN).",
        )
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise MountFailed(f"{DEVICE} may not be read and written by this user.", remedy=f"chmod 666 {DEVICE}, as root.")
    if may_mount():
        return
    if shutil.which("fusermount3") is None:
        raise MountFailed(
            "Users who may not mount need fusermount3, which is not installed.",
            remedy="Install it (Debian: apt install fuse3), or mount as root.",
        )
    if allow_other and not _others_allowed():
        raise MountFailed(
            f"--allow-other needs `user_allow_other` in {CONFIGURATION}.", remedy="Have root add it, or leave it out."
        )


def _others_allowed() -> bool:
    try:
        lines = CONFIGURATION.read_text().splitlines()
    except OSError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)
