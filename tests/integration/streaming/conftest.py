from __future__ import annotations

from tests.integration.arriving.conftest import agent_here, here, hub, served_hub

__all__ = ["agent_here", "here", "hub", "served_hub"]
