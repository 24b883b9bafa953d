"""Where a gateway listens."""

from __future__ import annotations

import socket

import pytest

from modeldist.agent.serving import address_of, gateway_socket
from modeldist.errors import AgentError, UsageError


def test_none_without_an_address() -> None:
    with gateway_socket("") as listener:
        assert listener is None


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_it_is_tcp_by_name_so_that_short_answers_are_sent_at_once(address: str) -> None:
    with gateway_socket(address) as listener:
        assert listener is not None
        with socket.create_connection(listener.getsockname()[:2]), listener.accept()[0] as accepted:
            assert accepted.proto == socket.IPPROTO_TCP  # what asyncio looks at


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0"])
def test_loopback_only(address: str) -> None:
    with pytest.raises(UsageError, match="not on loopback"), gateway_socket(address):
        pass


@pytest.mark.parametrize("address", ["7430", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:²"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(UsageError, match=rf"'{address}' is not host:port"), gateway_socket(address):
        pass


def test_an_address_in_use_is_named() -> None:
    with gateway_socket("127.0.0.1:0") as listener:
        assert listener is not None
        address = address_of(listener)
        with pytest.raises(AgentError, match=f"Cannot serve the gateway on {address}"), gateway_socket(address):
            pass
