"""Which options make a command use the agent, and which make it work by itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.agent.this_node import node
from modeldist.errors import AgentError, UsageError


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        monkeypatch.setenv("MODELDIST_SOCKET", str(path))
        yield path


def test_the_agent_is_used_when_it_runs(listening: Path) -> None:
    assert node().running_agent() is not None
    assert node(agent=False).running_agent() is None


@pytest.mark.parametrize(
    "own",
    [
        {"store": Path("/tmp/other")},
        {"hub": Path("/tmp/hub")},
        {"registry": "registry.example"},
        {"plain_http": ("registry.example",)},
        {"hf_endpoint": "https://hub.example"},
    ],
    ids=lambda own: next(iter(own)),
)
def test_what_only_this_process_can_follow_leaves_the_agent_out(listening: Path, own: dict[str, object]) -> None:
    assert node(**own).running_agent() is None  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--agent"):
        node(agent=True, **own)  # type: ignore[arg-type]


def test_a_named_socket_is_insisted_on(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"gone\.sock"):
        node(socket=tmp_path / "gone.sock").running_agent()


def test_without_an_agent_commands_work_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELDIST_SOCKET", str(tmp_path / "none.sock"))
    assert node().running_agent() is None
    with pytest.raises(AgentError):
        node(agent=True).running_agent()


def test_the_environment_fills_what_was_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELDIST_STORE", str(tmp_path))
    monkeypatch.setenv("MODELDIST_REGISTRY", "registry.example")
    here = node()
    assert here.store == tmp_path
    assert here.origin_settings().default_registry == "registry.example"
    assert here.origin_settings().file_roots is None
    assert not here.own
    assert node(registry="other.example").registry == "other.example"
