"""An agent that no other node can connect to says so when it starts."""

from __future__ import annotations

import pytest

from modeldist.agent.daemon import serves_nobody
from modeldist.agent.settings import AgentSettings


@pytest.mark.parametrize(
    ("control", "address", "advertise", "remedy"),
    [
        ("http://127.0.0.1:7420", "127.0.0.1:4000", "", ""),
        ("http://localhost:7420", "127.0.0.1:4000", "", ""),
        ("https://control:7420", "127.0.0.1:4000", "", "--listen"),
        ("https://10.0.0.1:7420", "[::1]:4000", "", "--listen"),
        ("https://10.0.0.1:7420", "0.0.0.0:7421", "", "--advertise"),
        ("https://10.0.0.1:7420", "[::]:7421", "", "--advertise"),
        ("https://10.0.0.1:7420", "0.0.0.0:7421", "10.0.0.7:7421", ""),
        ("https://control:7420", "10.0.0.7:7421", "", ""),
        ("https://control:7420", "10.0.0.7:7421", "localhost:7421", "--listen"),
    ],
)
def test_who_can_connect(control: str, address: str, advertise: str, remedy: str) -> None:
    why = serves_nobody(AgentSettings(control=control, advertise=advertise), address)
    assert remedy in why
    assert bool(why) == bool(remedy)
