"""What a connection says before it is a child: the hello, then a subscription whose capability holds. No I/O.

Until then it is owed nothing, so it gets no thread, and what it may cost is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from modeldist.artifact import Digest
from modeldist.transfer import frames
from modeldist.transfer.base import CheckCapability
from modeldist.transfer.frame_reader import Event, FrameReader
from modeldist.transfer.served_shard import permits

_STRANGER = b"This is a modeldist piece server; it speaks only its own protocol.\n"
_MOST_REFUSALS = 16  # each costs a signature check in the thread that receives everybody


@dataclass(frozen=True)
class Answer:
    """`words` for the other side. `over`: the connection ends with them. `proven`: it is a child from here on, and
    these are its first frames for whoever serves it, the accepted subscription foremost."""

    words: bytes = b""
    over: bool = False
    proven: tuple[Event, ...] = ()


class Introduction:
    """`node` is this node's id, `check` decides on capabilities; `lanes` is the version of RDMA lanes spoken here, 0
    for none."""

    def __init__(self, node: str, check: CheckCapability, *, lanes: int = 0) -> None:
        self.reader = FrameReader()
        self.child = ""
        """The id of the other side, once it has said hello."""
        self.certified = ""
        """The node that its certificate names; empty where the connection is in the clear."""
        self._node = node
        self._check = check
        self._lanes = lanes
        self._refusals = 0

    def hear(self, data: bytes) -> Answer:
        """Whatever arrived next."""
        words = bytearray()
        try:
            events = self.reader.receive(data)
            for number, event in enumerate(events):
                if self._accepts(event):
                    return Answer(bytes(words), proven=tuple(events[number:]))
                words += self._reply(event)
        except frames.ProtocolError as error:
            return Answer(bytes(words) + (self.farewell(str(error)) or _STRANGER), over=True)
        except _Parted as parting:
            return Answer(bytes(words) + parting.words, over=True)
        return Answer(bytes(words))

    def farewell(self, reason: str) -> bytes:
        """A goodbye, if the other side is far enough to understand one."""
        return frames.encode(frames.Goodbye(frames.brief(reason))) if self.child else b""

    def _accepts(self, event: Event) -> bool:
        """Whether this makes it a child."""
        return (
            bool(self.child)
            and isinstance(event, frames.Subscribe)
            and permits(self._check, event.capability, self.child, Digest(event.shard))
        )

    def _reply(self, event: Event) -> bytes:
        match event:
            case frames.Hello() if not self.child:
                return self._greet(event)
            case _ if not self.child:
                raise _Parted(_STRANGER)
            case frames.Subscribe(subscription=number):
                return self._refuse(number)
            case frames.Request(request=request):
                return frames.encode(frames.Refused(request, "Not subscribed to this shard."))
            case frames.Ping(token=token):
                return frames.encode(frames.Pong(token))
            case frames.Unsubscribe():
                return b""
            case frames.Goodbye():
                raise _Parted(b"")
            case _:
                raise frames.ProtocolError(f"A child does not send {type(event).__name__} here.")

    def _greet(self, hello: frames.Hello) -> bytes:
        if hello.version != frames.VERSION:
            raise _Parted(
                refusal(
                    f"This parent speaks piece protocol {frames.VERSION}, the child {hello.version}. "
                    "Run the same release of modeldist on both nodes."
                )
            )
        if self.certified and hello.node != self.certified:
            raise _Parted(
                refusal(f"The certificate is node {self.certified}'s, and the hello says that it is node {hello.node}.")
            )
        self.child = hello.node
        return frames.MAGIC + frames.encode(frames.HelloOk(frames.VERSION, self._node, self._lanes))

    def _refuse(self, subscription: int) -> bytes:
        self._refusals += 1
        if self._refusals > _MOST_REFUSALS:
            raise _Parted(self.farewell(f"None of the first {_MOST_REFUSALS} capabilities holds here."))
        reason = "The capability for this shard has expired or does not hold here."
        return frames.encode(frames.SubscribeRefused(subscription, reason))


class _Parted(Exception):
    """The connection is over, with these words."""

    def __init__(self, words: bytes) -> None:
        super().__init__()
        self.words = words


def refusal(reason: str) -> bytes:
    """Instead of a hello."""
    return frames.MAGIC + frames.encode(frames.HelloRefused(frames.brief(reason)))
