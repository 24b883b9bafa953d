"""What one plain TCP stream brings over a shaped link: the measure that bounds are computed with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.netlab.namespaces import LabError
from tests.netlab.scenario import LabScenario
from tests.netlab.topology import CONTROL, ORIGIN, Topology

PLAIN_TCP = [sys.executable, "-I", "-S", str(Path(__file__).parent / "programs" / "plain_tcp.py")]
_PORT = "7777"


def measure(lab: Topology, scenario: LabScenario, seconds: float) -> dict[float, float]:
    """Rate of a link (Mbit/s) -> goodput in bytes/s, for every rate of the scenario.

    `seconds`: how long each stream is. Uplinks have the rate of some node's link or are measured between two racks.
    """
    return {rate: _stream(lab, *_ends(scenario, rate), rate * 125_000 * seconds) for rate in scenario.rates}


def _ends(scenario: LabScenario, rate: float) -> tuple[str, str]:
    """Who sends and who receives, so that a link of this rate is the narrowest on the way."""
    for node in scenario.nodes:
        if rate == node.down:
            return CONTROL, node.name
        if rate == node.up:
            return node.name, CONTROL
    if rate == scenario.origin:
        return ORIGIN, CONTROL
    first = scenario.nodes[0]
    return first.name, next(node.name for node in scenario.nodes if node.rack != first.rack)


def _stream(lab: Topology, sender: str, receiver: str, size: float) -> float:
    address = lab.address(receiver)
    with subprocess.Popen(
        [*lab.inside(receiver), *PLAIN_TCP, "listen", address, _PORT], stdout=subprocess.PIPE, text=True
    ) as listening:
        assert listening.stdout is not None
        listening.stdout.readline()  # ready
        subprocess.run([*lab.inside(sender), *PLAIN_TCP, "send", address, _PORT, str(round(size))], check=True)
        answer = listening.stdout.readline().split()
    if len(answer) != 2:
        raise LabError(f"the plain stream from {sender} to {receiver} failed")
    return int(answer[0]) / float(answer[1])
