"""The control plane: resolves references, runs phase 1 for all nodes, keeps pulls, answers REST.

    core.py        what the messages of a session mean; no web framework, no database
    inprocess.py   the same core inside one process (embedded mode)
    app.py, api/   FastAPI: agent sessions over WebSocket, REST under /api/v1
    pulls/         pulls started over REST: who must fetch what, and how far each node is
    store/         SQLAlchemy: tokens, artifacts, nodes, pulls; never swarm state
    server.py      runs it; `modeldist.client` talks to it

May import session, scheduler, origins, transfer.capability, artifact, errors. `core` and `inprocess` import neither
FastAPI nor SQLAlchemy, so that embedded mode starts fast.
"""
