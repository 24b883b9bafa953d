"""Thousands of synthetic agents against a real `modeldist server`: how fast it answers, and what each agent costs it.

`python -m modeldist.control.load --agents 5000 --seconds 60`. They speak the real session (WebSocket, token, msgpack)
and report what a node would; only the model's bytes are missing. May import session, scheduler, artifact, errors.

    plan.py             what is asked for
    synthetic_task.py   the shard tasks, made up
    copy.py             one agent's copy of one task, as it grows
    light_socket.py     the client's end of a WebSocket without a task of its own
    synthetic_agent.py  one agent: joins, reports, asks, reads leases
    fleet.py            all of them: who asks for what, when
    ledger.py           what was measured
    server_process.py   the server: started, pinned, weighed
    descriptors.py      whether this process may open that many sockets
    run.py              the phases of a measurement
    result.py           its figures, for people and programs
"""
