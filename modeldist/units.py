"""Numbers as people read them. Sizes are decimal (1 GB = 10^9 bytes), as origins and disks give them."""

from __future__ import annotations

_STEPS = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def size(count: float) -> str:
    """`count` bytes with three digits: 0 B, 91.2 MB, 1.34 GB."""
    for unit, step in _STEPS:
        if count >= step * 0.9995:
            value = count / step
            return f"{value:.{_decimals(value)}f} {unit}"
    return f"{count:.0f} B"


def _decimals(value: float) -> int:
    if value >= 99.95:
        return 0
    return 1 if value >= 9.995 else 2


def rate(per_second: float) -> str:
    """Bytes per second with three digits: 42.9 MB/s, 1.31 GB/s."""
    return f"{size(per_second)}/s"


def duration(seconds: float) -> str:
    """0.3 s, 12 s, 3 min 20 s, 2 h 5 min, 4 d."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d"


def ago(seconds: float) -> str:
    """How long ago something was, in its largest unit."""
    for step, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= step:
            return f"{seconds // step:.0f} {unit} ago"
    return "just now"


def short_id(identity: str) -> str:
    """Enough of a pull's or node's id to name it by: those that the control plane makes begin with the time."""
    return identity[:12]


def counted(number: int, thing: str) -> str:
    """1 node, 2 nodes."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
