"""Bodies that come slowly: next to nothing counts as nothing, and who reads them hears of every bit in time to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modeldist.errors import OriginProtocolError
from modeldist.origins.http_answers import Source
from modeldist.origins.http_dialing import Dialer
from modeldist.origins.ranged_http import RangedHttp
from modeldist.origins.settings import HttpSettings
from tests.servers.drips import SlowServer
from tests.unit.origins.conftest import scratch

SIZE = 8 << 20
IMPATIENT = HttpSettings(stall_timeout=0.3, retries=0)
PATIENT = HttpSettings(stall_timeout=600.0, retries=0)


class _Enough(Exception):
    pass


def head(size: int, *, chunked: bool = False) -> bytes:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    return f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-{size - 1}/{SIZE}\r\n{framing}\r\n\r\n".encode()


@pytest.fixture
def into(tmp_path: Path) -> Iterator[int]:
    with scratch(tmp_path / "into") as fd:
        yield fd


def read(server: SlowServer, size: int, into: int, settings: HttpSettings, told: list[int], enough: int = 0) -> None:
    """Until `told` has `enough` entries, where that is not 0."""

    def tell(count: int) -> None:
        told.append(count)
        if len(told) == enough:
            raise _Enough

    source = Source(f"http://{server.host}/a.bin", "a.bin", SIZE)
    with closing(RangedHttp(Dialer(settings))) as http:
        http.read(lambda _: source, 0, size, into, 0, tell)


@pytest.mark.parametrize(
    ("size", "chunked"), [(SIZE, False), (100_000, False), (SIZE, True)], ids=["spliced", "short", "chunked"]
)
def test_a_drip_is_no_progress(size: int, chunked: bool, into: int) -> None:
    told: list[int] = []
    drip = b"1\r\nx\r\n" if chunked else b"x"
    with (
        SlowServer(head=head(size, chunked=chunked), drip=drip) as server,
        pytest.raises(OriginProtocolError, match="it stalled"),
    ):
        read(server, size, into, IMPATIENT, told)
    assert sum(told) > 0, "what came is kept"


def test_a_chunk_that_never_says_how_long_it_is(into: int) -> None:
    with (
        SlowServer(head=head(SIZE, chunked=True), drip=b"0") as server,
        pytest.raises(OriginProtocolError, match="it stalled"),
    ):
        read(server, SIZE, into, IMPATIENT, [])


def test_a_taker_that_pauses_is_no_stall(into: int) -> None:
    """What came is the origin's merit, however long its taker thinks about it."""
    now, told = 0.0, list[int]()

    def clock() -> float:
        nonlocal now
        now += 0.6
        return now

    def think(count: int) -> None:
        nonlocal now
        now += 1000 * PATIENT.stall_timeout  # a limit on the rate, say
        told.append(count)
        if len(told) == 2:
            raise _Enough

    with SlowServer(head=head(SIZE), drip=b"x") as server:
        source = Source(f"http://{server.host}/a.bin", "a.bin", SIZE)
        with closing(RangedHttp(Dialer(PATIENT), clock=clock)) as http, pytest.raises(_Enough):
            http.read(lambda _: source, 0, SIZE, into, 0, think)


def test_silence_is_a_chance_to_stop(into: int) -> None:
    """Long before the connection counts as lost."""
    told: list[int] = []
    with SlowServer(head=head(SIZE)) as server, pytest.raises(_Enough):
        read(server, SIZE, into, PATIENT, told, enough=1)
    assert told == [0]


def test_slow_bytes_are_told_of_before_a_mebibyte_of_them_came(into: int) -> None:
    """A lease without progress is taken back."""
    told: list[int] = []
    with SlowServer(head=head(SIZE), drip=bytes(500)) as server, pytest.raises(_Enough):
        read(server, SIZE, into, PATIENT, told, enough=3)
    assert 0 < sum(told) < 1 << 20
