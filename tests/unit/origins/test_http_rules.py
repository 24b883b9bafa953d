"""The pure rules of reading over HTTP: redirects, statuses, ranges, patience."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.errors import ModeldistError, OriginProtocolError
from modeldist.origins.http_answers import Source, body_length, retry_after
from modeldist.origins.http_redirects import Endpoint, leads_to, next_hop, zone_of_name
from modeldist.origins.patience import pause_before
from modeldist.origins.settings import HttpSettings
from modelpack.oci.addresses import Zone, zone_of_address

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SOURCE = Source("https://origin.example/a", "a", 1000)


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("8.8.8.8", Zone.PUBLIC),
        ("2606:4700::1111", Zone.PUBLIC),
        ("10.1.2.3", Zone.PRIVATE),
        ("192.168.0.1", Zone.PRIVATE),
        ("100.64.0.1", Zone.PRIVATE),
        ("fd00::1", Zone.PRIVATE),
        ("169.254.169.254", Zone.LINK_LOCAL),
        ("fe80::1%eth0", Zone.LINK_LOCAL),
        ("127.0.0.1", Zone.LOOPBACK),
        ("::1", Zone.LOOPBACK),
        ("0.0.0.0", Zone.LOOPBACK),
        ("::ffff:127.0.0.1", Zone.LOOPBACK),
        ("::ffff:10.0.0.1", Zone.PRIVATE),
    ],
)
def test_zones(address: str, zone: Zone) -> None:
    assert zone_of_address(address) is zone


def test_zones_of_names() -> None:
    assert zone_of_name("localhost") is zone_of_name("x.localhost") is Zone.LOOPBACK
    assert zone_of_name("10.0.0.1") is Zone.PRIVATE
    for spelling in ("127.1", "2130706433", "0x7f.1", "localhost.", "::ffff:127.0.0.1"):
        assert zone_of_name(spelling) is Zone.LOOPBACK  # a proxy would connect to them
    assert zone_of_name("registry.example") is Zone.PUBLIC


def test_redirects_never_lead_inwards() -> None:
    assert leads_to(Zone.PUBLIC, private_allowed=False) == {Zone.PUBLIC}
    assert leads_to(Zone.PUBLIC, private_allowed=True) == {Zone.PUBLIC, Zone.PRIVATE}
    assert Zone.LOOPBACK not in leads_to(Zone.PRIVATE, private_allowed=True)
    assert Zone.LINK_LOCAL not in leads_to(Zone.LOOPBACK, private_allowed=True)


def test_credentials_stay_with_their_endpoint_and_range_goes_along() -> None:
    headers = {"Authorization": "Bearer x", "Range": "bytes=0-1", "Cookie": "a=b"}
    assert next_hop("https://r.example/a", "/b", headers) == ("https://r.example/b", headers)
    for target in ("https://r.example:444/b", "https://cdn.example/b"):
        assert next_hop("https://r.example/a", target, headers) == (target, {"Range": "bytes=0-1"})
    assert next_hop("https://r.example/a", "https://R.example:443/b#x", headers)[1] == headers


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://r.example/b",
        "ftp://r.example/b",
        "https://u:secret@r.example/b",
        "https://r:99999/b",
        "https://[::1",
    ],
)
def test_redirects_that_are_refused(location: str) -> None:
    with pytest.raises(OriginProtocolError) as refused:
        next_hop("https://r.example/a", location, {})
    assert "secret" not in str(refused.value)


def test_authorities() -> None:
    assert Endpoint.of("https://R.example/").authority == "r.example"
    assert Endpoint.of("http://[::1]:80/").authority == "[::1]"
    assert Endpoint.of("https://r.example:80/").authority == "r.example:80"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 12:00:30 -0000", 30.0),
        ("", None),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(value, lambda: NOW) == seconds


@given(st.integers(1, 9), st.none() | st.floats(0, 100), st.floats(0, 0.999))
def test_pauses_are_bounded_and_never_shorter_than_asked(attempt: int, after: float | None, uniform: float) -> None:
    settings = HttpSettings()
    pause = pause_before(attempt, after, settings, uniform)
    if attempt > settings.retries or (after or 0) > settings.retry_after_cap:
        assert pause is None
    else:
        assert pause is not None and (after or 0) < pause <= settings.backoff_cap + settings.retry_after_cap


def _length(status: int, start: int, length: int, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return body_length(status, lambda name: named.get(name, ""), SOURCE, start, length)


def test_a_part_of_the_range_is_accepted() -> None:
    assert _length(206, 10, 100, Content_Range="bytes 10-59/1000", Content_Length="50") == 50
    assert _length(206, 10, 100, Content_Range="bytes 10-109/*") == 100
    assert _length(200, 0, 100, Content_Length="1000") == 100


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, {}),
        (206, {"Content_Range": "bytes */1000"}),
        (206, {"Content_Range": "bytes 0-99/1000"}),
        (206, {"Content_Range": "bytes 10-110/1000"}),
        (206, {"Content_Range": "bytes 10-5/1000"}),
        (206, {"Content_Range": "bytes 10-109/999"}),
        (206, {"Content_Range": "bytes 10-109/1000", "Content_Length": "99"}),
        (206, {"Content_Range": "bytes 10-109/1000", "Content_Length": "-1"}),
        (203, {}),
    ],
)
def test_answers_that_do_not_fit(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(OriginProtocolError):
        _length(status, 10, 100, **headers)


@given(st.sampled_from([200, 206]), st.text(max_size=40), st.text(max_size=12))
def test_no_header_brings_more_than_was_asked_for(status: int, content_range: str, content_length: str) -> None:
    try:
        got = _length(status, 0, 100, Content_Range=content_range, Content_Length=content_length)
    except ModeldistError:
        return
    assert 0 < got <= 100
