"""What can go wrong, by cause.

RdmaError                  every one of them; `remedy` says what to do, where something can be done
├── NoVerbs                no verbs library, or a kernel without RDMA
├── DeviceGone             the device was removed, or its port went down
├── RegistrationRefused    the system would not pin the memory
├── Unreachable            no route to the other side's GID, or it does not answer
├── AccessRefused          the other side's key is wrong, revoked, or does not cover the range
└── QueuePairBroken        the queue pair is of no more use: make another one
"""

from __future__ import annotations


class RdmaError(Exception):
    """A sentence for people; `remedy` is another one, or empty."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class NoVerbs(RdmaError):
    """Verbs cannot be used on this machine at all."""


class DeviceGone(RdmaError):
    """The device was removed or its port went down; everything outstanding on it has ended."""


class RegistrationRefused(RdmaError):
    """The memory could not be registered."""


class Unreachable(RdmaError):
    """The other side cannot be reached from this port, or stopped answering."""


class AccessRefused(RdmaError):
    """The other side's device refused a read: wrong or revoked key, or a range that it does not cover."""


class QueuePairBroken(RdmaError):
    """The queue pair is in its error state, or was closed."""
