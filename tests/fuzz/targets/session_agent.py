"""What an agent says to the control plane: any frames end a session in order, or are heard, and break nothing of it.

An input is several binary frames, told to one session of a whole core with phase 1 behind it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import msgspec

from modeldist.artifact import Digest
from modeldist.control.conversation import BROKEN, Conversation
from modeldist.control.core import ControlCore
from modeldist.control.delivery import Delivery
from modeldist.control.resolver import MemoryCatalogue, Resolver
from modeldist.errors import ErrorInfo
from modeldist.scheduler.messages import (
    Behind,
    HeldLease,
    JoinTasks,
    LeaseFailed,
    LeaseRequest,
    LeaveTasks,
    Load,
    Measured,
    ParentReport,
    PieceDigest,
    Report,
    ShardRejected,
    TaskJoin,
    TaskReport,
)
from modeldist.scheduler.phase1 import Phase1, Phase1Config
from modeldist.session.messages import (
    PROTOCOL,
    FromAgent,
    Hello,
    Inventory,
    PullProgress,
    Resolve,
    StoreAnswer,
    decode_from_agent,
    decode_from_control,
    encode,
)
from tests.fuzz.msgpack import WORDS, joined, parts
from tests.fuzz.target import Target
from tests.servers.memory_origin import MemoryOrigin

MIB = 1 << 20
TASK = Digest("sha256:" + "ab" * 32)
REFERENCE = "memory://org/model:v1"
ORIGIN = MemoryOrigin()
MODEL = ORIGIN.add(REFERENCE, {"model.safetensors": b"x"})
HELLO = Hello(PROTOCOL, "a" * 32, "node-a", "1.0", "10.0.0.1:7421", artifacts=(TASK,))
JOIN = JoinTasks((TaskJoin(TASK, 40 * MIB, origin="registry.example"),))


def seeds() -> Iterator[bytes]:
    one = PieceDigest(0, b"d" * 32)
    load = Load(nic_rx=1.0, nic_tx=2.0, bytes_in_flight=3)
    told = TaskReport(TASK, b"\x03", (one,), {1: 100}, (ParentReport("b" * 32, 10, 0.5, 1, 1),))
    held = TaskJoin(TASK, 40 * MIB, origin="o", have=b"\x01", digests=(one,), leases=(HeldLease(1, 0, 2),))
    said: tuple[tuple[FromAgent, ...], ...] = (
        (HELLO, Resolve(1, REFERENCE), Resolve(2, REFERENCE, MODEL.digest), Resolve(3, "memory://org/none:v1")),
        (HELLO, JOIN, LeaseRequest(TASK, 8), Report(1, load, (told,)), LeaseFailed(TASK, 1, b"\x0f", "no")),
        (HELLO, JoinTasks((held,)), Report(1), Behind(TASK, "b" * 32), ShardRejected(TASK), LeaveTasks((TASK,))),
        (msgspec.structs.replace(HELLO, measures=True), Measured(1, 1e8), Measured(1)),
        (HELLO, Inventory((TASK,)), PullProgress("p", "done", 1, 1, 0, 0, "/x"), StoreAnswer(1, 5)),
        (
            HELLO,
            JOIN,
            LeaseRequest(TASK, 8, b"\xff", ((0, 2), (3, 1))),
            StoreAnswer(1, 0, ErrorInfo("not_found", "no")),
        ),
    )
    for messages in said:
        yield joined(map(encode, messages))
    # The lengths are kept while what is inside changes: alone, a message is most of the input.
    for message in (HELLO, JOIN, Report(1, load, (told,))):
        yield joined([encode(message)])


class _Frames:
    clogged = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed: tuple[int, str] | None = None

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def flush(self) -> None:
        return

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)


def check(data: bytes) -> None:
    messages = list(parts(data))
    for message in messages:
        check_codec(message)
    asyncio.run(_converse(messages))


def check_codec(data: bytes) -> None:
    try:
        message = decode_from_agent(data)
    except msgspec.DecodeError:
        return
    written = encode(message)
    assert encode(decode_from_agent(written)) == written


def _greets(messages: list[bytes]) -> bool:
    """Or is to be taken for one who should have."""
    return not messages or b"hello" in messages[0] or len(messages[0]) % 8 == 0


async def _converse(messages: list[bytes]) -> None:
    now = 1000.0
    core = ControlCore(
        scheduler=Phase1(Phase1Config(restart_grace=0.0), random.Random(1)),
        resolver=Resolver(ORIGIN, MemoryCatalogue(), lambda: now),
        clock=lambda: now,
        outbox_limit=100,
    )
    frames = _Frames()
    session = Conversation(frames, core, Delivery(), lambda: now, "fuzz")
    for message in messages if _greets(messages) else (encode(HELLO), *messages):
        session.received(message)
        now += 0.5
        core.tick()
    await asyncio.sleep(0)
    session.check(now + 3600.0)
    session.lost(1006)
    assert frames.closed is None or frames.closed[0] != BROKEN, frames.closed
    assert frames.closed is None or len(frames.closed[1].encode()) <= 123
    assert not core.sessions
    for frame in frames.sent:
        decode_from_control(frame)
    for _ in range(3):
        now += 3600.0
        core.tick()
    await core.close()


TAGS = b"hello resolve pull_progress store_answer inventory join leave report lease? lease_failed behind".split()
FIELDS = b"protocol node tasks size piece_size have digests blake3 leases origin only seq load verified parents".split()
TARGET = Target("session_agent", check, seeds, (*WORDS, *TAGS, *FIELDS, TASK.encode()), longest=2048)
