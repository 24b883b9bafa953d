"""RDMA between nodes: lanes beside a TCP connection, over which a child reads what its parent exposes.

    rails           the node's devices, opened, with memory to serve from and to receive into
    parent_lanes    the parent's ends of one child's lanes, and what is exposed on them
    shard_pages     the parent's shards on tmpfs, exposed where they lie
    memory_files    which files lie in memory, and mapped
    chunk_ledger    which chunks of them stay registered
    child_lanes     the child's ends of its lanes to one parent, and what is read over them
    lane_policy     when to ask for lanes, and when again after a failure
    detours         why pieces came over TCP instead

The connection's own frames set lanes up and control them (`frames`); whatever fails on a lane is fetched over the
connection. May import `rdma` and the rest of `transfer`, but not `transfer.tcp`, which uses it.
"""

from modeldist.transfer.verbs.memory_files import in_memory
from modeldist.transfer.verbs.rails import NodeRails

__all__ = ["NodeRails", "in_memory"]
