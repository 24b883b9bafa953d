"""Verbs as a library: devices and rails, registered memory, queue pairs, one-sided reads.

    devices, rails     what this machine has, and why one cannot be used (`python -m rdma probe`)
    interface          what an opened device offers; `verbs` implements it on real devices, `double` in memory
    pool               slots of one long-lived registration
    errors             what can go wrong, by cause

Imports nothing of modeldist; useful without it. pyverbs is imported when a device is opened.
"""

from rdma.devices import Device, Gid, Port, discover
from rdma.errors import (
    AccessRefused,
    DeviceGone,
    NoVerbs,
    QueuePairBroken,
    RdmaError,
    RegistrationRefused,
    Unreachable,
)
from rdma.rails import Rail, rail_at, rails

__all__ = [
    "AccessRefused",
    "Device",
    "DeviceGone",
    "Gid",
    "NoVerbs",
    "Port",
    "QueuePairBroken",
    "Rail",
    "RdmaError",
    "RegistrationRefused",
    "Unreachable",
    "discover",
    "rail_at",
    "rails",
]
