"""The node: one process that pulls artifacts into the shared store and serves their pieces to other nodes.

May import session, scheduler, transfer, origins, modelpack, rdma; never control or cli.

    config.py      what a node is told at start
    engine.py      the event loop between phase 2, the session, parents, origin reads and the store
    pull.py        one pull: resolve, reserve, fetch, materialise
    pulls.py       those of the node, as callers and the control plane start them
    past_pulls.py  what pulls without an agent leave for `modeldist why`
    daemon.py      the long-running agent: engine, piece server, session, local API
    serving.py     where its HTTP servers listen, and how they are served until it stops
"""
