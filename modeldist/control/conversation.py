"""One agent's session: its frames become messages for the core, the core's messages become frames, and it ends with a
reason. Callbacks only, so that thousands of sessions need no task each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from modeldist.control.admission.rooms import NOBODY
from modeldist.control.agent_session import AgentSession
from modeldist.control.artifact_size import LARGE, size_of
from modeldist.control.core import ControlCore
from modeldist.control.delivery import Delivery
from modeldist.control.ports import Clock
from modeldist.errors import ControlPlaneRefused
from modeldist.session.messages import FromAgent, FromControl, Hello, Refused, Resolved, decode_from_agent, encode

log = logging.getLogger(__name__)

HELLO_WITHIN = 10.0  # seconds from the handshake to Hello
TAKEN_WITHIN = 120.0  # seconds that a large answer may take on its way: 64 MiB at 0.5 MB/s

GOODBYE = (1000, 1001)  # how an agent closes when it stops; a connection that breaks has other codes
GOING_AWAY = 1001
NOT_BINARY = 1003
MALFORMED = 1007
VIOLATION = 1008
BROKEN = 1011
NOT_LEADING = "this replica of the control plane leads no more"


def _nothing() -> None:
    """Nobody wants to know."""


class Frames(Protocol):
    """A WebSocket past its handshake. `clogged`: the agent does not take what was sent already."""

    @property
    def clogged(self) -> bool: ...
    def send(self, frame: bytes) -> None:
        """A binary frame, written by the next `flush` at the latest. Dropped once the connection is over."""

    def flush(self) -> None: ...
    def close(self, code: int, reason: str) -> None: ...


class Conversation:
    """Whatever carries the frames calls `received`, `writable`, `lost` and, now and then, `check`."""

    __slots__ = (
        "_admits",
        "_clock",
        "_core",
        "_delivery",
        "_frames",
        "_holder",
        "_leave_room",
        "_opened_at",
        "_over",
        "_sent_at",
        "_session",
        "_token",
        "_unsent",
        "_welcomed",
        "queued",
    )

    def __init__(
        self,
        frames: Frames,
        core: ControlCore,
        delivery: Delivery,
        clock: Clock,
        token: str,
        *,
        holder: str = NOBODY,
        leave: Callable[[], None] = _nothing,
        admits: Callable[[Hello], None] = lambda _: None,
        welcomed: Callable[[Hello], None] = lambda _: None,
    ) -> None:
        """`token`: its name, for the log; `holder`: its id. `leave` is called once, when it is over. `admits` raises
        ControlPlaneRefused for whom it opens no session; `welcomed` is called for whom it opened one."""
        self._frames = frames
        self._core = core
        self._delivery = delivery
        self._token = token
        self._holder = holder
        self._leave_room = leave
        self._admits = admits
        self._welcomed = welcomed
        self._clock = clock
        self._opened_at = clock()
        self._unsent = 0  # bytes of a large answer on its way, which began then:
        self._sent_at = 0.0
        self._session: AgentSession | None = None
        self._over = False
        self.queued = False

    @property
    def who(self) -> str:
        """For the log."""
        return (
            f"agent {self._session.node}"
            if self._session
            else f"an agent with token {self._token!r} that has not greeted"
        )

    # --- what the frames say ----------------------------------------------------------------------------------------

    def received(self, data: bytes | str) -> None:
        """One whole message (text as str)."""
        if self._over:
            return
        if not self._core.leads():
            self._end(GOING_AWAY, NOT_LEADING)
            return
        if isinstance(data, str):
            self._end(NOT_BINARY, "messages are binary frames")
            return
        try:
            message = decode_from_agent(data)
        except msgspec.DecodeError as error:  # ValidationError is a DecodeError
            self._end(MALFORMED, f"not a message of an agent: {error}")
            return
        if self._session is None:
            self._greet(message)
        else:
            self._hear(self._session, message)

    def writable(self) -> None:
        """The agent took what had clogged the connection."""
        self._taken()
        self._delivery.ready(self)

    def lost(self, code: int) -> None:
        """The connection is over; `code` is how the agent closed it, 1006 when it did not."""
        if code in GOODBYE:
            self._leave("the agent said goodbye", lost=False)
        else:
            self._leave("the connection was lost", lost=True)

    def check(self, now: float) -> None:
        """Time passed."""
        if self._session is None and not self._over and now - self._opened_at > HELLO_WITHIN:
            self._end(VIOLATION, f"no greeting within {HELLO_WITHIN:.0f} seconds")
        elif self._unsent and now - self._sent_at > TAKEN_WITHIN:
            self._end(VIOLATION, f"an answer was not taken within {TAKEN_WITHIN:.0f} seconds")

    # --- what follows -----------------------------------------------------------------------------------------------

    def _greet(self, hello: FromAgent) -> None:
        if not isinstance(hello, Hello):
            self._end(VIOLATION, "the first message must be a greeting")
            return
        try:
            self._admits(hello)
            session = self._core.connect(hello, self._holder)
        except ControlPlaneRefused as refused:
            log.warning("refused an agent: %s", refused)
            self._frames.send(encode(Refused(refused.info())))
            self._end(VIOLATION, refused.message)
            return
        except Exception:
            log.exception("the greeting of agent %s (%s) could not be handled", hello.node, hello.name)
            self._end(BROKEN, "the control plane failed on this greeting; its log has the traceback")
            return
        log.info(
            "agent %s (%s) connected with token %r, protocol %d",
            session.node,
            hello.name,
            self._token,
            session.welcome.protocol,
        )
        self._session = session
        self._welcomed(hello)
        session.outbox.on_news = self._news
        self._frames.send(encode(session.welcome))
        self.deliver()

    def _hear(self, session: AgentSession, message: FromAgent) -> None:
        try:
            self._core.receive(session, message)
        except ControlPlaneRefused as refused:
            self._end(VIOLATION, refused.message)
        except Exception:
            log.exception("a message of agent %s could not be handled", session.node)
            self._end(BROKEN, "the control plane failed on this message; its log has the traceback")
        else:
            self.deliver()  # whoever spoke is answered before others are told what follows from it

    def _news(self) -> None:
        self._delivery.ready(self)

    def deliver(self) -> None:
        """Send what waits, as far as the agent takes it."""
        if self._over or self._session is None:
            return
        outbox, frames = self._session.outbox, self._frames
        if outbox.closed is not None or not self._core.leads():
            self._end(GOING_AWAY, outbox.closed or NOT_LEADING)
            return
        while not frames.clogged and (message := outbox.peek()) is not None:
            large = _is_large(message)
            if large and not self._delivery.has_room(self):
                break
            outbox.take()
            frame = self._delivery.encode(message)
            frames.send(frame)
            if large:
                self._on_its_way(len(frame))
        frames.flush()

    def _on_its_way(self, size: int) -> None:
        self._frames.flush()
        if self._frames.clogged:
            self._unsent, self._sent_at = size, self._clock()
            self._delivery.unsent(size)

    def _taken(self) -> None:
        size, self._unsent = self._unsent, 0
        if size:
            self._delivery.unsent(-size)

    def _end(self, code: int, reason: str) -> None:
        self._leave(reason, lost=True)
        self._frames.close(code, _short(reason))

    def _leave(self, reason: str, *, lost: bool) -> None:
        if self._over:
            return
        self._over = True
        self._taken()
        self._leave_room()
        if (session := self._session) is not None:
            self._core.disconnect(session, reason, lost=lost)
            log.info("agent %s disconnected: %s", session.node, session.outbox.closed)


def _is_large(message: FromControl) -> bool:
    return isinstance(message, Resolved) and message.artifact is not None and size_of(message.artifact) >= LARGE


def _short(reason: str) -> str:
    """A close frame holds 123 bytes."""
    return reason.encode()[:123].decode(errors="ignore")
