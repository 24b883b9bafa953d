"""Connections of programs on this machine, whoever runs them, to the drop-in endpoints."""

from __future__ import annotations

import resource

from modeldist.agent.file_connection import FileConnection
from modeldist.agent.strangers import StrangersConnection

MOST = 1024  # connections at once; a server of models with eight processes of eight threads has 64
SHARE = 8  # one in so many of the descriptors, since one that is sent a file takes three
BETWEEN = 90.0  # seconds that programs may keep a connection for their next request; uvicorn closes idle ones before


class GatewayConnection(StrangersConnection, FileConnection):
    """One connection."""

    @property
    def most(self) -> int:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return MOST if descriptors == resource.RLIM_INFINITY else max(1, min(MOST, descriptors // SHARE))

    @property
    def between(self) -> float:
        return BETWEEN
