"""Moving pieces between nodes: one interface (`base.py`), one transport now (`tcp`), RDMA beside it later.

May import scheduler.pieces, artifact, errors. Knows nothing of schedulers or stores: what to send comes from a
`ShardDirectory`, where to put it is a file descriptor and an offset.
"""
