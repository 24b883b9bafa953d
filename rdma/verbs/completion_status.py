"""What a completion's status means, by ibv_wc_status."""

from __future__ import annotations

from rdma.errors import AccessRefused, QueuePairBroken, RdmaError, Unreachable

_REFUSED = {9: "invalid request", 10: "access error"}  # IBV_WC_REM_INV_REQ_ERR, IBV_WC_REM_ACCESS_ERR
_SILENT = {12: "no answer", 13: "never ready"}  # IBV_WC_RETRY_EXC_ERR, IBV_WC_RNR_RETRY_EXC_ERR
_OTHER = {
    1: "a length error",
    2: "a queue pair error",
    4: "a protection error",
    5: "the queue was flushed",
    6: "a memory window error",
    11: "an error of the other side's device",
}


def failure_of(status: int, device: str) -> RdmaError:
    """`status` is not IBV_WC_SUCCESS."""
    if reason := _REFUSED.get(status):
        return AccessRefused(
            f"The other side refused a read from {device} ({reason}): its key was revoked or is wrong."
        )
    if reason := _SILENT.get(status):
        return Unreachable(f"The other side did not answer {device} ({reason}).")
    return QueuePairBroken(f"An operation failed on {device}: {_OTHER.get(status, f'status {status}')}.")
