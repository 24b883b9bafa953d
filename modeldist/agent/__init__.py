"""The node: one process that pulls artifacts into the shared store and serves their pieces to other nodes.

May import session, scheduler, transfer, origins, modelpack, rdma; never control or cli.

    config.py      what a node is told at start
    engine.py      the event loop between phase 2, the session, parents, origin reads and the store
    pull.py        one pull: resolve, reserve, fetch, materialise
    daemon.py      the long-running agent: engine, piece server, session, local API
"""
