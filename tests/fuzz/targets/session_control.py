"""What the control plane says to an agent: a message that is written again as it was read, or a refusal to read it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from modeldist.artifact import Digest
from modeldist.errors import ErrorInfo
from modeldist.scheduler.messages import (
    LeaseGranted,
    LeaseRevoked,
    Measure,
    Parent,
    Parents,
    PieceDigest,
    PieceDigests,
    TaskJoined,
    TaskRefused,
    TaskReset,
)
from modeldist.session.messages import (
    PROTOCOL,
    CancelPull,
    FromControl,
    Refused,
    ReportEvery,
    Resolved,
    ResolveFailed,
    StartPull,
    StoreCommand,
    Welcome,
    decode_from_control,
    encode,
)
from tests.fuzz.msgpack import WORDS
from tests.fuzz.target import Target
from tests.servers.memory_origin import MemoryOrigin

TASK = Digest("sha256:" + "ab" * 32)


def seeds() -> Iterator[bytes]:
    model = MemoryOrigin().add("memory://org/model:v1", {"a/model.safetensors": b"x" * 100_000}, chunks=True)
    away = ErrorInfo("origin_unavailable", "away", "wait", 3.0)
    messages: tuple[FromControl, ...] = (
        Welcome(PROTOCOL, "cluster", 1.0, b"k" * 32, "require", 1.8e9),
        ReportEvery(2.0),
        Refused(ErrorInfo("control_refused", "no")),
        Resolved(1, model, away),
        ResolveFailed(1, ErrorInfo("not_found", "no such model", "check it")),
        StartPull("p", "org/model:v1"),
        CancelPull("p"),
        StoreCommand(1, "pin", "org/model:v1"),
        TaskJoined(TASK, 1 << 22, b"capability", chunks=True),
        TaskRefused(TASK, 5, 1.0),
        Parents(TASK, (Parent("b" * 32, "10.0.0.2:7421", b"\xff", 1, 3),), (1, 4), 3),
        LeaseGranted(TASK, 1, 0, 8, 2),
        LeaseRevoked(TASK, 1),
        PieceDigests(TASK, (PieceDigest(0, b"d" * 32),)),
        TaskReset(TASK, "wrong"),
        Measure(1, "b" * 32, "10.0.0.2:7421", b"capability"),
    )
    yield from map(encode, messages)


def check(data: bytes) -> None:
    try:
        message = decode_from_control(data)
    except msgspec.DecodeError:
        return
    written = encode(message)
    assert encode(decode_from_control(written)) == written
    match message:
        case Refused(error) | ResolveFailed(_, error):
            assert error.as_error().message == error.message
        case Resolved(_, artifact, _) if artifact is not None:
            assert artifact.size >= 0 or any(file.size < 0 for file in artifact.files)


TAGS = b"welcome report_every refused resolved start_pull store_command joined parents lease digests".split()
FIELDS = b"artifact files path digest size ranges chunks error code message retry_after piece_tls pin evict".split()
TARGET = Target("session_control", check, seeds, (*WORDS, *TAGS, *FIELDS, TASK.encode()), longest=2048)
