"""Whether this process may open as many sockets as it is going to."""

from __future__ import annotations

import resource

from modeldist.errors import UsageError

SPARE = 64  # descriptors beside the sockets: files, pipes, libraries


def allow_descriptors(sockets: int) -> None:
    """Raise the limit of this process, and of those it starts, as far as needed. Raises UsageError when the hard limit
    is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = sockets + SPARE
    if hard not in (resource.RLIM_INFINITY,) and hard < needed:
        raise UsageError(
            f"{sockets} sessions need {needed} file descriptors, and this process may open {hard}.",
            remedy=f"Raise the hard limit (ulimit -Hn {needed}, or LimitNOFILE={needed} of the systemd unit), or take "
            "fewer agents.",
        )
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
