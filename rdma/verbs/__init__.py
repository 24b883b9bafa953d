"""The interface on real devices, by pyverbs. Imports pyverbs only when a device is opened."""

from rdma.verbs.device import VerbsDevice

__all__ = ["VerbsDevice"]
