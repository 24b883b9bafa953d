"""Where a gateway may be."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from modeldist.agent.daemon import run_agent
from modeldist.agent.settings import AgentSettings
from modeldist.errors import AgentError, ModeldistError, UsageError
from modeldist.gateway.app import Gateway


def refused(home: Path, gateway: str, **more: str) -> ModeldistError:
    settings = AgentSettings(
        token=SecretStr("secret"), store=home / "store", socket=home / "agent.sock", gateway=gateway, **more
    )
    with pytest.raises(ModeldistError) as raised:
        asyncio.run(run_agent(settings, Gateway))
    return raised.value


@pytest.mark.parametrize("address", ["0.0.0.0:7430", "192.0.2.1:7430", "[::]:7430", "example.com:7430"])
def test_only_this_machine_may_ask(tmp_path: Path, address: str) -> None:
    error = refused(tmp_path, address)
    assert isinstance(error, UsageError)
    assert address in error.message
    assert "127.0.0.1" in error.remedy


def test_no_address(tmp_path: Path) -> None:
    assert isinstance(refused(tmp_path, "7430"), UsageError)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        error = refused(tmp_path, address)
    assert isinstance(error, AgentError)
    assert address in error.message


def test_an_agent_that_would_ask_itself(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = refused(tmp_path, f"127.0.0.1:{port}", hf_endpoint=f"http://localhost:{port}")
    assert isinstance(error, UsageError)
    assert "own gateway" in error.message
