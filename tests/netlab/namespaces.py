"""Network namespaces and folders of this lab and of labs that were killed. `ip` makes namespaces; root is needed.

Both are called `netlab-<pid>-…` after the process that made them, a namespace after its role too. Sweeping removes
those whose process is gone: namespaces with whatever still runs in them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"netlab-(\d+)-\w[\w-]*$")
_NAMED = Path("/run/netns")


class LabError(Exception):
    """The lab cannot be set up or a contender failed; the text says why."""


def missing() -> str:
    """Why no lab can run here, "" where one can."""
    if os.geteuid():
        return "network namespaces need root"
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (Debian: apt-get install iproute2)"
    probe = f"netlab-{os.getpid()}-probe"
    try:
        run("ip", "netns", "add", probe)
        try:
            run("ip", "-n", probe, "link", "add", "a0", "type", "veth", "peer", "name", "a1")
            run("ip", "-n", probe, "link", "add", "a2", "type", "bridge")
            run("tc", "-n", probe, "qdisc", "add", "dev", "a0", "root", *shape(100))
        finally:
            remove(probe)
    except LabError as error:
        return f"this kernel gives no lab: {error}"
    return ""


def shape(mbit: float) -> list[str]:
    """A token bucket of this rate; its queue holds 20 ms, a switch port's worth. A burst of two GSO packets keeps the
    kernel from cutting them up."""
    queue = max(131_072, round(mbit * 125_000 * 0.02))
    return ["tbf", "rate", f"{round(mbit * 1000)}kbit", "burst", "131072", "limit", str(queue)]


def run(*command: str, given: str = "") -> str:
    """Standard output. Raises LabError with the command's own words."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def batch(namespace: str, lines: list[str], *, tool: str = "ip") -> None:
    run(tool, "-n", namespace, "-batch", "-", given="\n".join(lines) + "\n")


def leave_bridges_alone(namespace: str) -> None:
    """Where a machine shows its firewall what crosses bridges, as container engines have it do: not here."""
    run(
        *inside(namespace),
        "sh",
        "-c",
        "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done",
    )


def own(role: str) -> str:
    return f"netlab-{os.getpid()}-{role}"


def own_folder(directory: Path) -> Path:
    """A new one in `directory`, for blobs and stores."""
    return Path(tempfile.mkdtemp(prefix=own(""), dir=directory))


def inside(namespace: str) -> list[str]:
    """What goes in front of a command to run it there; the process keeps its id."""
    return ["ip", "netns", "exec", namespace]


def remove(namespace: str) -> None:
    """Kill what runs in it, then take it away. One that is gone already is no error."""
    if not (_NAMED / namespace).exists():
        return
    for _ in range(100):
        pids = [int(pid) for pid in run("ip", "netns", "pids", namespace).split()]
        if not pids:
            break
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)  # the kernel takes a moment to bury them, and nothing tells when it has
    run("ip", "netns", "delete", namespace)


def remaining(owner: int) -> list[str]:
    """Namespaces made by this process."""
    return [name for name, pid in _labs(_NAMED) if pid == owner]


def sweep() -> list[str]:
    """Remove the namespaces of labs that were killed; their names."""
    stale = _stale(_NAMED)
    for name in stale:
        remove(name)
    return stale


def sweep_folders(directory: Path) -> list[str]:
    """Remove the folders in `directory` of labs that were killed; their names. Call `sweep` first: what still runs in a
    lab's namespaces goes on writing."""
    stale = _stale(directory)
    for name in stale:
        shutil.rmtree(directory / name, ignore_errors=True)
    return stale


def _stale(place: Path) -> list[str]:
    return [name for name, pid in _labs(place) if not Path(f"/proc/{pid}").exists()]


def _labs(place: Path) -> list[tuple[str, int]]:
    if not place.is_dir():
        return []
    return [(entry.name, int(found[1])) for entry in place.iterdir() if (found := _NAME.match(entry.name))]
