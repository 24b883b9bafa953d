"""modeldist in the lab: every node pulls a model it has never seen through its own warm agent, as an operator would."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

from modeldist.agent.progress import PullSnapshot
from modeldist.errors import AgentError
from tests.netlab.cluster import LabCluster
from tests.netlab.cost import Cost, forget_peaks, total
from tests.netlab.figures import Raw
from tests.netlab.model import Model
from tests.netlab.namespaces import LabError
from tests.netlab.origin import Origin
from tests.netlab.scenario import LabNode, LabScenario
from tests.netlab.topology import Topology

_SOON = 0.2  # seconds from now until all start, so that all threads are there


class _NodePull(threading.Thread):
    """One node's pull, watched through the agent's socket as `modeldist pull` does."""

    def __init__(self, node: LabNode, cluster: LabCluster, reference: str, zero: float) -> None:
        super().__init__(name=f"pull {node.name}", daemon=True)
        self._node = node
        self._client = cluster.clients[node.name]
        self._reference = reference
        self._zero = zero
        self.finished: float | None = None
        self.last: PullSnapshot | None = None
        self.progress: list[tuple[float, int]] = []
        self.error = ""

    def run(self) -> None:
        time.sleep(max(0.0, self._zero + self._node.start - time.monotonic()))
        try:
            pull = self._client.start_pull(self._reference).pull
            for now in self._client.events(pull):
                self.last = now
                self.progress.append((time.monotonic() - self._zero, now.done))
        except AgentError as error:
            self.error = str(error)
            return
        if self.last is not None and self.last.state == "done":
            self.finished = time.monotonic() - self._zero
        else:
            self.error = str(self.last and self.last.error)


def pull_everywhere(
    lab: Topology, scenario: LabScenario, cluster: LabCluster, origin: Origin, made: Model, bound: float
) -> Raw:
    """One timed run. Raises LabError when a node that should live does not get everything, or gets it wrong."""
    forget_peaks(cluster.pids)
    pids = cluster.pids
    before, uplink = total(pids), lab.uplink_bytes()
    zero = time.monotonic() + _SOON
    pulls = {node.name: _NodePull(node, cluster, made.reference, zero) for node in scenario.nodes}
    for pull in pulls.values():
        pull.start()
    lost = _kill(scenario, cluster, zero, bound)
    for pull in pulls.values():
        pull.join(timeout=max(60.0, 20 * bound))
    cost = (total(pids) + lost).since(before)
    survivors = {node.name: pulls[node.name] for node in scenario.nodes if node.dies is None}
    for name, pull in survivors.items():
        if pull.finished is None:
            raise LabError(f"{name} did not finish: {pull.error}")
    return Raw(
        finishes={name: pull.finished for name, pull in survivors.items() if pull.finished is not None},
        origin_bytes=origin.blob_bytes(made),
        cpu=cost.cpu,
        peak=cost.peak,
        uplink=lab.uplink_since(uplink),
        progress={name: pull.progress for name, pull in pulls.items()},
        wrong=tuple(wrong for pull in survivors.values() for wrong in _wrong(made, pull.last)),
    )


def _kill(scenario: LabScenario, cluster: LabCluster, zero: float, bound: float) -> Cost:
    """kill -9 those that are to die, when it is time; what they had used by then."""
    lost = Cost()
    for node in sorted((node for node in scenario.nodes if node.dies is not None), key=lambda node: node.dies or 0.0):
        assert node.dies is not None
        time.sleep(max(0.0, zero + node.dies * bound - time.monotonic()))
        agent = cluster.agents[node.name]
        lost += total([agent.pid])
        with suppress(ProcessLookupError):
            agent.kill()
    return lost


def _wrong(made: Model, done: PullSnapshot | None) -> list[str]:
    """Hashed here with nothing of modeldist."""
    return ["nothing"] if done is None else made.wrong_in(Path(done.path))
