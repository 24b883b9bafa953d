"""What the machine gives the agent: limits, FUSE, RDMA, links."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator

from modeldist import __version__
from modeldist.cli.doctor.finding import Finding, ok, warn
from modeldist.errors import MountFailed
from modeldist.units import counted, rate, size

_MEGABIT = 125_000  # bytes/s
_GIGABIT = 1000  # Mbit/s
_TEN = 10_000  # Mbit/s, from where on small frames cost a core
_JUMBO = 4000  # bytes of an MTU
_FILES = 4096  # open at a time: a pull of many small files and a few hundred children


def version() -> Iterator[Finding]:
    yield ok("version", f"modeldist {__version__}, Python {platform.python_version()}, Linux {platform.release()}.")


def processors() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    said = f"{counted(cores, 'processor')} for this program."
    if cores < 2:
        yield warn("processors", said, "Two or more let it hash while it receives: raise the CPU limit.", cores)
    else:
        yield ok("processors", said, cores)


def limits() -> Iterator[Finding]:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = f"{files:,} files may be open (the hard limit is {most:,})."
    if files < _FILES:
        remedy = f"`ulimit -n {min(max(_FILES, files), most)}`, or LimitNOFILE= in the systemd unit."
        yield warn("open files", said, remedy, files)
    else:
        yield ok("open files", said, files)


def fuse() -> Iterator[Finding]:
    from modeldist.mount.requirements import check

    try:
        check(allow_other=False)
    except MountFailed as error:
        yield warn("fuse", f"`modeldist mount` does not work: {error.message}", error.remedy)
    else:
        yield ok("fuse", "`modeldist mount` can be used.")


def rdma() -> Iterator[Finding]:
    from modeldist.transfer.verbs.rails import MEMORY
    from rdma import discover

    try:
        devices = discover()
    except OSError as error:
        yield warn("rdma", f"The RDMA devices cannot be listed: {error.strerror}.", "Look at /sys/class/infiniband.")
        return
    if not devices:
        yield ok("rdma", "No RDMA device: pieces move over TCP.")
        return
    for device in devices:
        if device.problem:
            yield warn("rdma", f"{device.name} cannot be used: {device.problem}.", "`python -m rdma probe` says more.")
        else:
            yield ok("rdma", f"{device.name} can be used.")
    yield _memlock(MEMORY * len(devices))
    verbs = [name for name in _uverbs() if not os.access(name, os.R_OK | os.W_OK)]
    if verbs:
        yield warn("rdma", f"{', '.join(verbs)} may not be opened.", "Give this user, or the container, the device.")


def _memlock(needed: int) -> Finding:
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if locked == resource.RLIM_INFINITY or locked >= needed:
        told = "Memory may be locked without a limit." if locked < 0 else f"{size(locked)} of memory may be locked."
        return ok("memlock", told, None if locked < 0 else locked)
    return warn(
        "memlock",
        f"{size(locked)} of memory may be locked, and RDMA needs {size(needed)}.",
        "`ulimit -l unlimited`, or LimitMEMLOCK=infinity in the systemd unit, or IPC_LOCK in the pod.",
        locked,
    )


def _uverbs() -> list[str]:
    try:
        return [entry.path for entry in os.scandir("/dev/infiniband") if entry.name.startswith("uverbs")]
    except OSError:
        return []


def links() -> Iterator[Finding]:
    import psutil

    nics = {name: nic for name, nic in psutil.net_if_stats().items() if nic.isup and name != "lo"}
    if not nics:
        yield warn("link", "No network interface is up but loopback.", "Bring one up: other nodes cannot be reached.")
    for name, nic in sorted(nics.items()):
        speed = f"{rate(nic.speed * _MEGABIT)} ({nic.speed:,} Mbit/s)" if nic.speed else "a speed that it does not say"
        said = f"{name} is up: {speed}, MTU {nic.mtu}."
        if 0 < nic.speed < _GIGABIT:
            yield warn("link", said, f"Look at the cable and the switch's port of {name}.", nic.speed * _MEGABIT)
        elif nic.speed >= _TEN and nic.mtu < _JUMBO:
            remedy = f"Where all switches take them, jumbo frames save a core: `ip link set {name} mtu 9000`."
            yield warn("link", said, remedy, nic.speed * _MEGABIT)
        else:
            yield ok("link", said, nic.speed * _MEGABIT if nic.speed else None)
