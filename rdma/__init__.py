"""Verbs as a library: devices now; registered memory, queue pairs and one-sided reads will join them here.

Imports nothing of modeldist; useful without it. `python -m rdma probe` prints what this machine has.
"""

from rdma.devices import Device, Gid, Port, discover

__all__ = ["Device", "Gid", "Port", "discover"]
