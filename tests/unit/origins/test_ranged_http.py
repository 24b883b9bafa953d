"""Ranged reads over HTTP against a server that misbehaves on demand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modeldist.errors import (
    AccessDenied,
    AuthenticationRequired,
    IntegrityError,
    ModeldistError,
    NotEnoughSpace,
    NotFound,
    OriginProtocolError,
    OriginUnavailable,
    RateLimited,
    StorageError,
)
from modeldist.origins.http_answers import Source
from modeldist.origins.http_dialing import Dialer
from modeldist.origins.http_redirects import Endpoint, leads_to
from modeldist.origins.patience import KNOCKS
from modeldist.origins.ranged_http import RangedHttp
from modeldist.origins.settings import HttpSettings
from modelpack.oci.addresses import Zone
from tests.servers.cluster import wait_until
from tests.servers.files import FaultyFiles
from tests.servers.loopback_http import Exchange, Fault, LoopbackServer
from tests.unit.origins.conftest import QUICK, scratch

BODY = os.urandom(3 << 20)


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    with FaultyFiles({"a.bin": BODY}) as server:
        yield server


class Reading:
    """One reader with a record of its pauses; `read()` gives what arrived in the file."""

    def __init__(self, path: Path, settings: HttpSettings = QUICK) -> None:
        self.slept: list[float] = []
        self.told: list[int] = []
        self.path = path
        self.http = RangedHttp(Dialer(settings), sleep=self.slept.append, uniform=lambda: 0.0)

    def read(self, source: Source | Callable[[bool], Source], start: int = 0, length: int | None = None) -> bytes:
        locate = source if callable(source) else lambda _: source
        size = length if length is not None else locate(False).size - start
        with scratch(self.path) as fd:
            try:
                self.http.read(locate, start, size, fd, 0, self.told.append)
            finally:
                got = os.pread(fd, size + 1, 0)
            return got


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[Reading]:
    made = Reading(tmp_path / "into")
    yield made
    made.http.close()


def source(files: FaultyFiles, **more: object) -> Source:
    return Source(f"{files.url}/a.bin", "a.bin", len(BODY), **more)  # type: ignore[arg-type]


# --- the ordinary case ---------------------------------------------------------------------------------------------


def test_one_request_a_range_on_one_connection(files: FaultyFiles, reading: Reading) -> None:
    for start in (0, 1 << 20, 2 << 20):
        assert reading.read(source(files), start, 1 << 20) == BODY[start : start + (1 << 20)]
    assert [r.range for r in files.requests] == [(s, s + (1 << 20) - 1) for s in (0, 1 << 20, 2 << 20)]
    assert files.connections == 1
    assert files.body_bytes() == sum(reading.told) == 3 << 20
    assert all(r.headers["accept-encoding"] == "identity" for r in files.requests)


def test_a_short_answer_after_a_long_one_on_the_same_connection(files: FaultyFiles, reading: Reading) -> None:
    assert reading.read(source(files), 0, 2 << 20) == BODY[: 2 << 20]
    assert reading.read(source(files), 5, 10) == BODY[5:15]
    assert files.connections == 1
    assert reading.slept == []


def test_no_bytes_need_no_request(files: FaultyFiles, reading: Reading) -> None:
    assert reading.read(source(files), 7, 0) == b""
    assert files.requests == []


def test_an_idle_connection_that_was_closed_costs_no_retry(files: FaultyFiles, reading: Reading) -> None:
    reading.read(source(files), 0, 10)
    files.drop_connections()
    assert reading.read(source(files), 10, 10) == BODY[10:20]
    assert reading.slept == []


def test_chunked_bodies_are_read(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(chunked=True))
    assert reading.read(source(files), 5, 5000) == BODY[5:5005]
    assert reading.read(source(files), 0, 10) == BODY[:10]


# --- what passes when tried again ----------------------------------------------------------------------------------


def test_a_cut_body_is_continued_not_repeated(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(cut_at=1_500_000))
    files.fail(Fault(cut_at=100))
    assert reading.read(source(files)) == BODY
    assert [r.range and r.range[0] for r in files.requests] == [0, 1_500_000, 1_500_100]
    assert sum(reading.told) == len(BODY)


def test_cuts_after_progress_do_not_exhaust_the_retries(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(cut_at=(1 << 20) + 1, times=2))
    files.fail(Fault(cut_at=1, times=2))
    assert reading.read(source(files)) == BODY


def test_a_body_that_stays_short_is_named(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(cut_at=10, times=99))
    with pytest.raises(OriginProtocolError, match=r"a\.bin: .*ended 60 bytes early"):
        reading.read(source(files), 0, 100)
    assert sum(reading.told) == 40
    assert len(files.requests) == 1 + QUICK.retries


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_server_errors_are_retried_with_growing_pauses(files: FaultyFiles, reading: Reading, status: int) -> None:
    files.fail(Fault(status=status, times=2))
    assert reading.read(source(files), 0, 100) == BODY[:100]
    assert reading.slept == [0.005, 0.01]


def test_server_errors_that_stay(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(status=503, times=99))
    with pytest.raises(OriginUnavailable, match="503"):
        reading.read(source(files))
    assert len(files.requests) == 1 + QUICK.retries


def test_an_unusual_server_error_is_not_retried(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(status=507))
    with pytest.raises(OriginUnavailable, match="507"):
        reading.read(source(files))
    assert len(files.requests) == 1


def test_retry_after_is_honoured(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(status=429, headers={"Retry-After": "2"}))
    assert reading.read(source(files), 0, 100) == BODY[:100]
    assert 2.0 <= sum(reading.slept) < 2.3
    assert reading.told[0] == 0  # a chance to stop before each pause


def test_retry_after_beyond_the_cap_ends_the_read(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as caught:
        reading.read(source(files))
    assert caught.value.retry_after == 3600
    assert len(files.requests) == 1


def test_a_dropped_request_is_tried_again(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(drop=True))
    assert reading.read(source(files), 0, 100) == BODY[:100]


def test_an_origin_that_is_gone(reading: Reading) -> None:
    with FaultyFiles() as gone:
        url = gone.url
    with pytest.raises(OriginUnavailable, match="cannot be reached"):
        reading.read(Source(f"{url}/a", "a", 10))
    assert len(reading.slept) == QUICK.retries


def test_a_question_where_nothing_ever_answered_is_not_put_for_long(reading: Reading) -> None:
    with FaultyFiles({"a": BODY}) as gone:
        there = Source(f"{gone.url}/a", "a", 10)
    with pytest.raises(OriginUnavailable, match="refused"):
        reading.http.head(there)
    assert len(reading.slept) == KNOCKS - 1 < QUICK.retries


def test_a_question_to_an_origin_that_is_restarting_is_put_again(reading: Reading) -> None:
    with FaultyFiles({"a": BODY}) as gone:
        there = Source(f"{gone.url}/a", "a", 10)
        reading.http.head(there).close()
    with pytest.raises(OriginUnavailable):
        reading.http.head(there)
    assert len(reading.slept) == QUICK.retries


def test_a_name_that_does_not_resolve(reading: Reading) -> None:
    with pytest.raises(OriginUnavailable, match="does not resolve"):
        reading.read(Source("http://a..b/a", "a", 10))
    assert reading.slept == []


def test_a_silent_origin_is_given_up(files: FaultyFiles, tmp_path: Path) -> None:
    impatient = Reading(tmp_path / "into", HttpSettings(stall_timeout=0.2, retries=0))
    fault = files.fail(Fault(hold_at=1000))
    with pytest.raises(OriginProtocolError, match="stalled"):
        impatient.read(source(files))
    fault.until.set()
    assert sum(impatient.told) == 1000
    impatient.http.close()


def test_ranges_cut_short_by_the_server_are_completed(files: FaultyFiles, reading: Reading) -> None:
    class Stingy(LoopbackServer):
        """Gives at most `most` bytes a request, honestly."""

        most = 2 << 20

        def answer(self, exchange: Exchange) -> None:
            assert exchange.log.range is not None
            first = exchange.log.range[0]
            last = min(first + self.most, len(BODY)) - 1
            exchange.head(
                206, {"Content-Range": f"bytes {first}-{last}/{len(BODY)}", "Content-Length": f"{last + 1 - first}"}
            )
            exchange.wfile.write(BODY[first : last + 1])

    with Stingy() as stingy:
        asked = Source(f"{stingy.url}/a.bin", "a.bin", len(BODY))
        assert reading.read(asked) == BODY
        assert len(stingy.requests) == 2
        stingy.most = 1
        with pytest.raises(OriginProtocolError, match="shorter range"):
            reading.read(asked, 0, 100)
        assert len(stingy.requests) == 2 + 1 + QUICK.retries


# --- what does not pass --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationRequired),
        (403, AccessDenied),
        (404, NotFound),
        (410, NotFound),
        (412, IntegrityError),
        (416, OriginProtocolError),
        (418, OriginProtocolError),
        (204, OriginProtocolError),
    ],
)
def test_refusals(files: FaultyFiles, reading: Reading, status: int, error: type[ModeldistError]) -> None:
    files.fail(Fault(status=status))
    with pytest.raises(error, match=r"a\.bin") as caught:
        reading.read(source(files, remedies={status: "Do this."}))
    assert caught.value.remedy
    assert len(files.requests) == 1


def test_a_range_beyond_the_end(files: FaultyFiles, reading: Reading) -> None:
    files.files["a.bin"] = BODY[:100]
    with pytest.raises(OriginProtocolError, match="416"):
        reading.read(source(files), 200, 10)


@pytest.mark.parametrize("off", [-5, 7])
def test_a_lying_content_length(files: FaultyFiles, reading: Reading, off: int) -> None:
    files.fail(Fault(length_off_by=off))
    with pytest.raises(OriginProtocolError, match="Content-Length"):
        reading.read(source(files), 10, 100)


def test_a_file_of_another_size(files: FaultyFiles, reading: Reading) -> None:
    files.files["a.bin"] = BODY + b"more"
    with pytest.raises(OriginProtocolError, match="announced"):
        reading.read(source(files))


def test_ignored_ranges_are_fine_from_the_beginning_only(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(ignore_range=True, times=2))
    assert reading.read(source(files), 0, 100) == BODY[:100]
    assert sum(reading.told) == 100
    with pytest.raises(OriginProtocolError, match="ignores byte ranges"):
        reading.read(source(files), 100, 100)


def test_compressed_bodies_are_refused(files: FaultyFiles, reading: Reading) -> None:
    files.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(OriginProtocolError, match="Content-Encoding"):
        reading.read(source(files))


def test_pinned_content_that_changed(files: FaultyFiles, reading: Reading) -> None:
    files.headers = {"ETag": '"one"', "Last-Modified": "Sat, 24 Oct 2026 10:00:00 GMT"}
    by_etag, by_time = source(files, etag='"one"'), source(files, last_modified="Sat, 24 Oct 2026 10:00:00 GMT")
    assert reading.read(by_etag, 0, 10) == reading.read(by_time, 0, 10) == BODY[:10]
    files.headers = {"ETag": '"two"', "Last-Modified": "Sun, 25 Oct 2026 10:00:00 GMT"}
    for pinned in (by_etag, by_time):
        with pytest.raises(IntegrityError, match="changed at the origin"):
            reading.read(pinned, 0, 10)


def test_a_full_disk(files: FaultyFiles, reading: Reading) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(NotEnoughSpace):
        reading.http.read(lambda _: source(files), 0, 10, fd, 0, reading.told.append)
    os.close(fd)


def test_a_descriptor_that_cannot_be_written(files: FaultyFiles, reading: Reading) -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(StorageError):
        reading.http.read(lambda _: source(files), 0, 10, fd, 0, reading.told.append)
    os.close(fd)


# --- asked ahead ---------------------------------------------------------------------------------------------------


def asked_in_turn(files: FaultyFiles, reading: Reading, count: int) -> None:
    """Reads 10 bytes at a time, each range asked for before the one ahead of it is read."""
    for start in range(0, count * 10, 10):
        if start + 10 < count * 10:
            reading.http.ahead(source(files), start + 10, 10)
        assert reading.read(source(files), start, 10) == BODY[start : start + 10]


def test_what_is_asked_ahead_is_asked_once_on_two_connections(files: FaultyFiles, reading: Reading) -> None:
    asked_in_turn(files, reading, 8)
    assert sorted(request.range or () for request in files.requests) == [(s, s + 9) for s in range(0, 80, 10)]
    assert files.connections == 2
    assert reading.slept == []


def test_what_was_asked_ahead_and_lost_is_asked_again(files: FaultyFiles, reading: Reading) -> None:
    reading.http.ahead(source(files), 10, 10)
    assert reading.read(source(files), 0, 10) == BODY[:10]
    files.drop_connections()
    assert reading.read(source(files), 10, 10) == BODY[10:20]
    assert reading.slept == []


def test_what_was_asked_ahead_and_never_read_is_forgotten(files: FaultyFiles, reading: Reading) -> None:
    for start in range(100, 200, 10):
        reading.http.ahead(source(files), start, 10)
    assert reading.read(source(files), 0, 10) == BODY[:10]
    asked_in_turn(files, reading, 3)


def test_what_was_asked_ahead_and_refused_is_tried_again(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(status=503))
    reading.http.ahead(source(files), 0, 10)
    assert reading.read(source(files), 0, 10) == BODY[:10]
    assert len(files.requests) == 2


def test_asking_ahead_follows_no_redirect_and_the_read_does(files: FaultyFiles, reading: Reading) -> None:
    with FaultyFiles() as front:
        front.redirects["a.bin"] = f"{files.url}/a.bin"
        asked = Source(f"{front.url}/a.bin", "a.bin", len(BODY))
        reading.http.ahead(asked, 10, 10)
        reading.http.ahead(asked, 20, 10)
        assert reading.read(asked, 10, 10) == BODY[10:20]
        wait_until("both were asked ahead", lambda: len(front.requests) == 2)
        assert len(files.requests) == 1


def test_nobody_is_there_to_be_asked_ahead(files: FaultyFiles, reading: Reading) -> None:
    files.close()
    reading.http.ahead(source(files), 0, 10)
    with pytest.raises(OriginUnavailable):
        reading.read(source(files), 0, 10)


# --- redirects -----------------------------------------------------------------------------------------------------


def test_redirects_keep_the_range_and_drop_credentials(files: FaultyFiles, reading: Reading) -> None:
    with FaultyFiles() as front:
        front.redirects["a.bin"] = "/here.bin"
        front.redirects["here.bin"] = f"{files.url}/a.bin"
        asked = Source(f"{front.url}/a.bin", "a.bin", len(BODY), {"Authorization": "Bearer secret"})
        assert reading.read(asked, 10, 10) == BODY[10:20]
        assert [r.headers.get("authorization") for r in front.requests] == ["Bearer secret"] * 2
        assert "authorization" not in files.requests[0].headers
        assert files.requests[0].range == (10, 19)
        assert reading.read(asked, 20, 10) == BODY[20:30]  # goes where the redirect led
        assert (len(front.requests), len(files.requests)) == (2, 2)


def test_an_aged_redirect_target_is_asked_for_again(files: FaultyFiles, reading: Reading) -> None:
    with FaultyFiles() as front:
        front.redirects["a.bin"] = f"{files.url}/a.bin"
        asked = Source(f"{front.url}/a.bin", "a.bin", len(BODY))
        reading.read(asked, 0, 10)
        files.fail(Fault(status=403))
        assert reading.read(asked, 10, 10) == BODY[10:20]
        assert len(front.requests) == 2


def test_a_redirect_target_is_not_used_for_ever(files: FaultyFiles, tmp_path: Path) -> None:
    now = [0.0]
    http = RangedHttp(Dialer(QUICK), clock=lambda: now[0])
    with FaultyFiles() as front, scratch(tmp_path / "into") as fd:
        front.redirects["a.bin"] = f"{files.url}/a.bin"
        asked = Source(f"{front.url}/a.bin", "a.bin", len(BODY))
        for moment in (0.0, 200.0, 300.0):
            now[0] = moment
            http.read(lambda _: asked, 0, 10, fd, 0, lambda _: None)
        assert len(front.requests) == 2
    http.close()


def test_a_redirect_loop(files: FaultyFiles, reading: Reading) -> None:
    files.redirects = {"a.bin": "/b.bin", "b.bin": "/a.bin"}
    with pytest.raises(OriginProtocolError, match="loop"):
        reading.read(source(files))


def test_too_many_redirects(files: FaultyFiles, reading: Reading) -> None:
    files.redirects = {"a.bin": "/0"} | {str(n): f"/{n + 1}" for n in range(9)}
    with pytest.raises(OriginProtocolError, match="more than 5"):
        reading.read(source(files))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_address_deeper_in_the_network_gets_no_packet(files: FaultyFiles, host: str) -> None:
    inner = Endpoint("http", host, files.port)
    with pytest.raises(OriginProtocolError, match="loopback address"):
        Dialer(QUICK).dial(inner, leads_to(Zone.PUBLIC, private_allowed=True))
    assert files.connections == 0
    Dialer(QUICK).dial(inner, leads_to(Zone.LOOPBACK, private_allowed=False)).close()


def test_a_redirect_without_location(files: FaultyFiles, reading: Reading) -> None:
    files.fail(Fault(status=302))
    with pytest.raises(OriginProtocolError, match="without a Location"):
        reading.read(source(files))


def test_a_renewable_source_is_located_again_once(files: FaultyFiles, reading: Reading) -> None:
    asked: list[bool] = []

    def locate(renew: bool) -> Source:
        asked.append(renew)
        return source(files, renewable=True)

    files.fail(Fault(status=403))
    assert reading.read(locate, 0, 10) == BODY[:10]
    assert asked[-1] is True and asked.count(True) == 1
    files.fail(Fault(status=401, times=2))
    with pytest.raises(AuthenticationRequired):
        reading.read(locate, 0, 10)


def test_stopping_leaves_the_reader_usable(files: FaultyFiles, reading: Reading, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(count: int) -> None:
        raise Stop

    with scratch(tmp_path / "stopped") as fd, pytest.raises(Stop):
        reading.http.read(lambda _: source(files), 0, len(BODY), fd, 0, stop)
    assert reading.read(source(files), 0, 10) == BODY[:10]
    assert files.connections == 2
