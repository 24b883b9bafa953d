"""All rivals by name."""

from __future__ import annotations

from tests.netlab.rivals.base import Rival
from tests.netlab.rivals.chain import Chain
from tests.netlab.rivals.direct import Aria2, Curl, HuggingFace
from tests.netlab.rivals.torrent import LibTorrent

RIVALS: dict[str, Rival] = {rival.name: rival for rival in (LibTorrent(), Chain(), Aria2(), HuggingFace(), Curl())}
