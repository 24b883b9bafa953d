"""Challenges, Retry-After, zones, redirects, presigned addresses: what strangers write, read with care."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.errors import RegistryProtocolError, RegistryRateLimited, RegistryUnavailable
from modelpack.oci.addresses import Zone, host_of, is_loopback, may_send_to, resolve_by_system, zone_of
from modelpack.oci.answers import Subject, connection_error, error_codes, may_pass
from modelpack.oci.blobs import presigned_life
from modelpack.oci.challenge import Challenge, parse_challenges
from modelpack.oci.redirects import Trail, headers_for
from modelpack.oci.retry import RetryPolicy, retry_after_seconds
from modelpack.reference import Reference
from tests.fuzz.targets import answers

WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            ['Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push"'],
            [
                (
                    "bearer",
                    {"realm": "https://auth.example/token", "service": "reg", "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        (['Basic realm="a \\"b\\" c"'], [("basic", {"realm": 'a "b" c'})]),
        (["Negotiate, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (["NTLM abc==, BEARER Realm = x , service=y"], [("ntlm", {}), ("bearer", {"realm": "x", "service": "y"})]),
        (["Basic realm=x", "Bearer realm=y"], [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (["Bearer realm=x, realm=evil"], [("bearer", {"realm": "x"})]),
        (['Bearer realm="never closed'], [("bearer", {})]),
        (["realm=x", "", " , ", '"'], []),
    ],
)
def test_challenges(values: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(values) == [Challenge(scheme, parameters) for scheme, parameters in expected]


@given(st.lists(st.tuples(WORDS, st.dictionaries(WORDS, st.text(st.characters(codec="ascii"))))))
def test_written_challenges_are_read_back(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "") + '"'

    plain = [(scheme, {k: v.replace("\n", "") for k, v in values.items()}) for scheme, values in challenges]
    header = ", ".join(f"{s} " + ", ".join(f"{k}={quoted(v)}" for k, v in p.items()) for s, p in plain)
    assert parse_challenges([header]) == [Challenge(scheme, parameters) for scheme, parameters in plain]


numbers = st.sampled_from(["1", "31", "1970", "0", "99999999999999999999", "-5", "00:00:01", "25:61", "+9999", "1e9"])
bits = st.sampled_from(["Thu,", "Jan", "GMT", "UTC", "-0000", ",", "/", "https://", "xn--", "[", "]", "@", "%00", "?"])
queries = st.sampled_from(["?Expires=", "&X-Amz-Expires=", "?X-Amz-Date=", "&se=", "&sig=", "nan", "inf", "2025-01-01"])


@settings(max_examples=200)
@given(
    st.text(max_size=200) | st.lists(numbers | bits | queries, max_size=9).map(" ".join) | st.lists(bits).map("".join)
)
def test_any_header_is_survived(text: str) -> None:
    """And any body, in one sentence that can be shown."""
    answers.check(text.encode())
    error_codes(text.encode())


def test_what_a_registry_calls_an_error_obeys_nobody() -> None:
    code = "DENIED\\u001b[2J" + "x" * 1000
    (shown,) = error_codes(f'{{"errors":[{{"code":"{code}","message":"no\\u0007"}}]}}'.encode())
    assert shown[0].startswith("DENIED [2Jxx") and len(shown[0]) == 200
    assert shown[1] == "no"


def test_a_challenge_of_very_many_parameters() -> None:
    header = "Bearer " + ",".join(f"p{number}=x" for number in range(50_000))
    (challenge,) = parse_challenges([header])
    assert len(challenge.parameters) == 50_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:01:40 -0000", 90.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("Thu, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 +99999999999999999999", None),
        ("9" * 5000, 999999999.0),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(text, now=lambda: 10.0) == seconds


def test_waits_double_and_are_drawn_from_the_upper_half() -> None:
    policy = RetryPolicy(attempts=9, base=1.0, longest=10.0, random=lambda: 1.0)
    error = RegistryUnavailable("gone")
    assert [policy.wait(failures, error) for failures in range(1, 7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert RetryPolicy(base=1.0, random=lambda: 0.0).wait(1, error) == 0.5
    assert policy.wait(9, error) is None


def test_retry_after_is_kept_but_not_for_ever() -> None:
    policy = RetryPolicy(base=1.0, patience=30.0, random=lambda: 0.0)
    assert policy.wait(1, RegistryRateLimited("slow", retry_after=30.0)) == 30.0
    assert policy.wait(1, RegistryRateLimited("slow", retry_after=31.0)) is None
    assert policy.wait(1, RegistryRateLimited("slow")) == 0.5


NAMES = {"registry.example": "93.184.216.34", "inside.example": "10.1.2.3", "both.example": "169.254.169.254"}
NAMES["xn--fa-hia.example"] = "10.0.0.1"  # faß.example, which is not fass.example


async def lookup(host: str) -> Sequence[str]:
    return [NAMES[host], "93.184.216.35"] if host in NAMES else ()


SPELLINGS_OF_LOOPBACK = (
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f.1",
    "0X7F000001",
    "0177.0.0.01",
    "127.0.0.1.",
    "0",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "2002:7f00:1::",
    "LocalHost",
    "localhost.",
    "a.localhost.",
)


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("localhost", Zone.LOOPBACK),
        ("a.localhost", Zone.LOOPBACK),
        ("127.8.8.8", Zone.LOOPBACK),
        ("::1", Zone.LOOPBACK),
        ("0.0.0.0", Zone.LOOPBACK),
        ("::ffff:127.0.0.1", Zone.LOOPBACK),
        ("169.254.169.254", Zone.LINK_LOCAL),
        ("fe80::1%eth0", Zone.LINK_LOCAL),
        *((spelling, Zone.LOOPBACK) for spelling in SPELLINGS_OF_LOOPBACK),
        ("0xa9fea9fe", Zone.LINK_LOCAL),
        ("64:ff9b::169.254.169.254", Zone.LINK_LOCAL),
        ("64:ff9b::8.8.8.8", Zone.PUBLIC),
        ("10.1", Zone.PRIVATE),
        ("1.1", Zone.PUBLIC),
        ("2002:a01:203::1", Zone.PRIVATE),
        ("4294967296", Zone.PUBLIC),
        ("08.0.0.1", Zone.PUBLIC),
        ("127.0.0.1.example", Zone.PUBLIC),
        ("10.0.0.1", Zone.PRIVATE),
        ("100.64.0.1", Zone.PRIVATE),
        ("fd00:ec2::254", Zone.PRIVATE),
        ("8.8.8.8", Zone.PUBLIC),
        ("registry.example", Zone.PUBLIC),
        ("inside.example", Zone.PRIVATE),
        ("both.example", Zone.LINK_LOCAL),
        ("unknown.example", Zone.PUBLIC),
    ],
)
async def test_zones(host: str, zone: Zone) -> None:
    assert await zone_of(host, lookup) is zone


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("registry.example", "store.example", True),
        ("registry.example", "inside.example", False),
        ("registry.example", "127.0.0.1", False),
        ("registry.example", "both.example", False),
        ("inside.example", "10.9.9.9", True),
        ("inside.example", "localhost", False),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "10.0.0.1", True),
        ("127.0.0.1", "169.254.169.254", False),
        ("169.254.1.1", "169.254.1.1", True),
    ],
)
async def test_who_may_send_us_where(source: str, target: str, allowed: bool) -> None:
    assert await may_send_to(source, target, lookup) is allowed


async def test_the_systems_resolver() -> None:
    assert set(await resolve_by_system("localhost")) <= {"127.0.0.1", "::1"}
    assert await resolve_by_system("no-such-host.invalid") == ()


def test_hosts_of_registries() -> None:
    assert host_of("[::1]:5000") == "::1"
    assert host_of("registry.example:5000") == "registry.example"
    assert is_loopback(host_of("[::1]"))
    assert is_loopback("127.1")
    assert not is_loopback("64:ff9b::127.0.0.1")  # what is sent to it leaves this machine
    assert not is_loopback("localhost.example")


async def follow(start: str, *locations: str, method: str = "GET", status: int = 307) -> str:
    url = httpx2.URL(start)
    trail = Trail(url, "blob of registry.example/a", lookup)
    for location in locations:
        headers = {"Location": location} if location else {}
        request = httpx2.Request(method, url)
        url = await trail.follow(httpx2.Response(status, headers=headers, request=request))
    return str(url)


async def test_allowed_hops() -> None:
    assert await follow("https://registry.example/a/b", "../c?x=1") == "https://registry.example/c?x=1"
    assert await follow("https://registry.example/a", "https://store.example/s") == "https://store.example/s"
    assert await follow("http://127.0.0.1:1/a", "https://store.example/s") == "https://store.example/s"
    chain = [f"/{n}" for n in range(5)]
    assert await follow("https://registry.example/a", *chain) == "https://registry.example/4"
    assert await follow("https://registry.example/a", "/b", method="PUT") == "https://registry.example/b"


@pytest.mark.parametrize(
    ("locations", "problem"),
    [
        (["/a"], "in a loop"),
        (["/b", "/a"], "in a loop"),
        ([f"/{n}" for n in range(6)], "more than 5 times"),
        (["http://registry.example/a"], "from https to plain http"),
        (["https://inside.example/"], "an address inside this network"),
        (["https://169.254.169.254/latest"], "an address inside this network"),
        (["ftp://store.example/"], "other than a plain web address"),
        (["https://user:pass@store.example/"], "other than a plain web address"),
        (["https://store.example:port/"], "no URL"),
        (["https://store.example:65536/"], "plain web address"),
        (["https://store.example:0/"], "plain web address"),
        (["https://store..example/"], "plain web address"),
        (["https://a_b.xn--zzz/"], "plain web address"),
        (["https://xn--fa-hia.example/"], "redirects to xn--fa-hia.example, an address inside this network"),
        ([f"https://{'a' * 64}.example/"], "plain web address"),
        ([""], "without saying where to"),
    ],
)
async def test_refused_hops(locations: list[str], problem: str) -> None:
    with pytest.raises(RegistryProtocolError, match=problem):
        await follow("https://registry.example/a", *locations)


async def test_a_post_is_not_turned_into_a_get() -> None:
    with pytest.raises(RegistryProtocolError, match="answers POST with redirect 302"):
        await follow("https://registry.example/a", "/b", method="POST", status=302)


def test_credentials_stay_with_their_origin() -> None:
    headers = {"authorization": "secret", "Cookie": "secret", "Range": "bytes=0-9"}
    here = httpx2.URL("https://registry.example/a")
    assert headers_for(here, httpx2.URL("https://registry.example:443/b"), headers) == headers
    for there in ("https://registry.example:444/b", "https://store.example/", "http://registry.example/"):
        assert headers_for(here, httpx2.URL(there), headers) == {"Range": "bytes=0-9"}


@pytest.mark.parametrize(
    ("query", "life"),
    [
        ("X-Amz-Date=19700101T000100Z&X-Amz-Expires=300", 350.0),
        ("x-goog-date=19700101T000000Z&x-goog-expires=5", 0.0),
        ("se=1970-01-01T00:01:10Z&sig=abc", 60.0),
        ("Expires=100", 90.0),
        ("Expires=Thu,%2001%20Jan%201970%2000:01:40%20GMT", 90.0),
        ("X-Amz-Expires=300", None),
        ("Expires=soon", None),
        ("Expires=Thu,%2001%20Jan%2099999999999999999999%2000:01:40%20GMT", None),
        ("", None),
    ],
)
def test_the_life_of_presigned_addresses(query: str, life: float | None) -> None:
    assert presigned_life(httpx2.URL(f"https://store.example/blob?{query}"), now=lambda: 10.0) == life


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"3", b'{"errors":3}', b'{"errors":[3]}', b'{"errors":null}'])
def test_error_documents_of_another_shape(body: bytes) -> None:
    assert error_codes(body) == []


@pytest.mark.parametrize(
    ("cause", "passes"),
    [
        (ssl.SSLCertVerificationError("self-signed"), False),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), False),
        (socket.gaierror(socket.EAI_AGAIN, "later"), True),
        (ConnectionRefusedError(), True),
    ],
)
def test_which_failures_to_connect_may_pass(cause: Exception, passes: bool) -> None:
    error = httpx2.ConnectError("")
    error.__cause__ = cause
    subject = Subject(Reference("r.example", "a", "b"), "manifest")
    meant = connection_error(error, subject)
    meant.__cause__ = error
    assert isinstance(meant, RegistryUnavailable)
    assert may_pass(meant) is passes
    assert ("its name does not resolve" in meant.message) is ("unknown" in str(cause))
    assert ("SSL_CERT_FILE" in meant.remedy) is isinstance(cause, ssl.SSLError)


def test_what_requests_are_about() -> None:
    ref = Reference("r.example", "a", "b", "sha256:" + "1" * 64)
    assert str(Subject(ref, "registry")) == "r.example"
    assert str(Subject(ref, "tags")) == "tags of r.example/a"
    assert str(Subject(ref, "manifest")) == f"r.example/a@{ref.digest}"
