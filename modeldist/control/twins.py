"""Two agents that greet as one node, because the store of one is a copy of the other's.

An agent whose connection broke comes back as the same instance; one that was started anew is another, and takes over
from a session that may be half open. Only when the one taken over from speaks again are there two: it is refused for
as long as the newer one is here, so that they do not take the node from each other for ever.
"""

from __future__ import annotations

from modeldist.control.agent_session import AgentSession
from modeldist.errors import ControlPlaneRefused
from modeldist.session.messages import Hello

REMEMBERED = 1000  # instances one session may have taken over from; machines of one image start together


def taken_over(hello: Hello, older: AgentSession) -> tuple[str, ...]:
    """The instances that a session opened by `hello` takes over from while `older` is open.

    Raises ControlPlaneRefused.
    """
    if not hello.instance or hello.instance == older.hello.instance:
        return older.took_over
    if hello.instance in older.took_over:
        raise ControlPlaneRefused(
            f"Another agent, {older.hello.name!r} at {older.hello.address or 'no address'}, is connected as node "
            f"{hello.node}, which agent {hello.name!r} at {hello.address or 'no address'} says it is too.",
            remedy="If one store is a copy of the other, stop the agent of the copy, remove the file node-id from its "
            "store and start it again.",
        )
    return (*older.took_over, older.hello.instance)[-REMEMBERED:]
