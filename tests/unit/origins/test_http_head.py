"""Heads and bodies of answers: what is plainly HTTP is read, everything else is an error."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from modeldist.origins.http_head import LONGEST, BadAnswer, chunk_size, end_of_head, parse_head
from modeldist.origins.prompt_response import PromptResponse


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def test_a_plain_head() -> None:
    data = head("HTTP/1.1 206 Partial Content", 'ETag: "abc" ', "content-length:8", "X-Empty:", "Via: a", "via: b")
    assert end_of_head(data) == len(data) and end_of_head(data[:-1]) == 0
    found = parse_head(data, "GET")
    assert (found.status, found.length, found.chunked, found.closes) == (206, 8, False, False)
    assert found.fields == {"etag": '"abc"', "content-length": "8", "x-empty": "", "via": "a, b"}


def test_lines_may_end_without_a_carriage_return() -> None:
    data = b"HTTP/1.1 200\nContent-Length: 3\n\nabc"
    assert end_of_head(data) == len(data) - 3
    assert parse_head(data[:-3], "GET").length == 3


@pytest.mark.parametrize(
    ("lines", "method", "length", "chunked", "closes"),
    [
        (("HTTP/1.1 200 OK",), "GET", None, False, True),
        (("HTTP/1.0 200 OK", "Content-Length: 1"), "GET", 1, False, True),
        (("HTTP/1.0 200 OK", "Content-Length: 1", "Connection: Keep-Alive"), "GET", 1, False, False),
        (("HTTP/1.1 200 OK", "Content-Length: 1", "Connection: te, close"), "GET", 1, False, True),
        (("HTTP/1.1 200 OK", "Content-Length: 7"), "HEAD", 0, False, False),
        (("HTTP/1.1 304 Not Modified",), "GET", 0, False, False),
        (("HTTP/1.1 200 OK", "Transfer-Encoding: Chunked"), "GET", None, True, False),
        (("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Content-Length: 9"), "GET", None, True, True),
        (("HTTP/1.1 200 OK", "Content-Length: 7", "Content-Length: 7"), "GET", 7, False, False),
    ],
)
def test_how_long_a_body_is(lines: tuple[str, ...], method: str, length: int, chunked: bool, closes: bool) -> None:
    found = parse_head(head(*lines), method)
    assert (found.length, found.chunked, found.closes) == (length, chunked, closes)


@pytest.mark.parametrize(
    "lines",
    [
        ("HTTP/2 200 OK",),
        ("HTTP/1.1 99 Low",),
        ("HTTP/1.1 200\0",),
        ("SSH-2.0-OpenSSH",),
        ("HTTP/1.1 200 OK", "no colon"),
        ("HTTP/1.1 200 OK", "Name : value"),
        ("HTTP/1.1 200 OK", "Name: folded", " value"),
        ("HTTP/1.1 200 OK", "Name: a\x00b"),
        ("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2"),
        ("HTTP/1.1 200 OK", "Content-Length: -1"),
        ("HTTP/1.1 200 OK", "Content-Length: \xb2"),
        ("HTTP/1.1 200 OK", "Content-Length: 9999999999999999999999"),
        ("HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked"),
    ],
)
def test_what_is_no_head(lines: tuple[str, ...]) -> None:
    with pytest.raises(BadAnswer):
        parse_head(head(*lines), "GET")


def test_lengths_of_chunks() -> None:
    assert chunk_size(b"1aF;name=value") == 0x1AF
    for wrong in (b"", b"-1", b"0x1", b"1 2", b"g", b"f" * 16):
        with pytest.raises(BadAnswer):
            chunk_size(wrong)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with ours, theirs:
        yield ours, theirs


def test_interim_answers_are_passed_over(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(head("HTTP/1.1 103 Early Hints", "Link: x") + head("HTTP/1.1 200 OK", "Content-Length: 2") + b"ok")
    answer = PromptResponse(ours, "GET")
    assert (answer.status, answer.read(100), answer.will_close) == (200, b"ok", False)


def test_a_chunked_body_to_its_trailers(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(
        head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: 1\r\n\r\n"
    )
    answer = PromptResponse(ours, "GET")
    assert answer.read(4) == b"abcd"
    assert answer.read(100) == b"e"
    assert answer.read(100) == b""
    assert not answer.will_close


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        head("HTTP/1.1 101 Switching Protocols"),
        head("HTTP/1.1 200 OK", "Content-Length: 5") + b"four",
        head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"3\r\nabcd\r\n0\r\n\r\n",
        head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"3\r\nab",
        head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"0\r\nT: 1\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (LONGEST + 1),
        head("HTTP/1.1 100 Continue") * (LONGEST // 20),
    ],
)
def test_what_ends_early_or_never(pair: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(sent)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(BadAnswer):
        PromptResponse(ours, "GET").read(1000)


def test_more_than_was_asked_for_ends_the_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(head("HTTP/1.1 200 OK", "Content-Length: 2") + b"ok" + head("HTTP/1.1 200 OK"))
    answer = PromptResponse(ours, "GET")
    assert answer.take(2) == b"ok"
    assert answer.will_close
