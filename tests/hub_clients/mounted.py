"""A real model by transformers from a mount, while the pull that fills it cannot end."""

from __future__ import annotations

import os
import threading
from importlib.util import find_spec
from pathlib import Path

from modeldist.mount import syscalls
from tests.integration.mount.mounts import MIB, Shell
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault

HELD = "onnx/model.onnx"  # which nobody who loads the model reads


def why_not() -> str:
    """Why nothing can be mounted here; empty where it can."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse here"
    if find_spec("pyfuse3") is None:
        return "pyfuse3 is not built here"
    return "" if syscalls.may_mount() else "this user may not mount"


class IncompleteModel:
    """`folder` as a mounted model of which one more file never comes. `directory` is where."""

    def __init__(self, hub: Hub, folder: Path, home: Path) -> None:
        self._hub = hub
        self._repo = f"org/mounted-{home.name}"
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        hub.commit(self._repo, {**files, HELD: os.urandom(32 * MIB)})
        self._gate = threading.Event()
        home.mkdir()
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "MODELDIST_STORE": str(home / "store")}
        self._shell = Shell(home.resolve(), {**environment, "MODELDIST_SOCKET": str(home / "none")})
        self._mounting = self._shell.mounted(f"hf://{self._repo}")

    def __enter__(self) -> Path:
        self._hub.fail(Fault(path=HELD, method="GET", hold_at=0, until=self._gate))
        self._mount = self._mounting.__enter__()
        return self._mount.directory

    def __exit__(self, *failure: object) -> None:
        held = len(self._mount.types) == 1  # not yet complete, or the store's own files were above
        self._gate.set()
        self._hub.heal()
        self._mounting.__exit__(None, None, None)
        assert held, "the pull was complete"
