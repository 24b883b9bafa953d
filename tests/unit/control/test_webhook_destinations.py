"""Where webhooks may go."""

from __future__ import annotations

import pytest

from modeldist.control.webhooks.destinations import Destinations
from modeldist.errors import UsageError

INNER = [
    "http://127.0.0.1/",
    "http://127.1:8080/hook",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0.0.0.0/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://localhost/",
    "http://LocalHost.:80/",
    "http://some.localhost/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://100.100.100.200/",
    "https://10.1.2.3/",
    "https://192.168.0.1/",
    "https://172.16.0.1/",
]


@pytest.mark.parametrize("url", INNER)
def test_addresses_that_are_not_public_are_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match=r"not sent to .*--webhook-host"):
        Destinations(()).check(url)


@pytest.mark.parametrize(
    "url", ["https://platform.example/", "https://203.0.113.5.example/", "https://8.8.8.8/", "https://[2606:4700::1]/"]
)
def test_public_ones_are_not(url: str) -> None:
    Destinations(()).check(url)


@pytest.mark.parametrize(
    ("allowed", "host", "address", "may"),
    [
        ("", "platform.example", "8.8.8.8", True),
        ("", "platform.example", "10.0.0.1", False),
        ("", "platform.example", "127.0.0.1", False),
        ("platform.example", "platform.example", "10.0.0.1", True),
        ("platform.example", "Platform.Example.", "10.0.0.1", True),
        ("platform.example", "other.platform.example", "10.0.0.1", False),
        ("*.example", "platform.example", "10.0.0.1", True),
        ("*.example", "a.b.example", "127.0.0.1", True),
        ("*.example", "example", "10.0.0.1", False),
        ("platform.example", "platform.example", "169.254.169.254", False),
        ("169.254.0.0/16", "platform.example", "169.254.169.254", True),
        ("10.0.0.0/8", "anything", "10.255.0.1", True),
        ("10.0.0.0/8", "anything", "::ffff:10.255.0.1", True),
        ("10.0.0.0/8", "anything", "11.0.0.1", True),
        ("10.0.0.0/8", "anything", "192.168.0.1", False),
        ("fd00::/8", "anything", "fd00::1", True),
        ("[fd00::1]", "anything", "fd00::1", True),
        ("localhost", "localhost", "127.0.0.1", True),
    ],
)
def test_what_is_allowed(allowed: str, host: str, address: str, may: bool) -> None:
    destinations = Destinations([allowed] if allowed else [])
    assert (destinations.refused(host, address) == "") is may


@pytest.mark.parametrize(
    "wrong", ["http://platform.example/", "platform.example:80", "10.0.0.1/8", "a b", "*", "", "*.*.example"]
)
def test_what_is_no_place(wrong: str) -> None:
    with pytest.raises(UsageError, match="no host, address or network"):
        Destinations([wrong])
