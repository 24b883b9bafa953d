"""A plain TCP chain: the origin sends to the first node, each node passes on what it writes. No digests, no faults."""

from __future__ import annotations

import time

from tests.netlab.figures import Raw
from tests.netlab.goodput import PLAIN_TCP
from tests.netlab.rivals.base import Arena, NodeProcess, gather
from tests.netlab.topology import ORIGIN

_PORT = 7788


class Chain:
    name = "TCP chain"
    says = "one stream from the origin through all nodes, racks end to end, 256 KiB at a time; no digest is computed"

    def missing(self) -> str:
        return ""

    def run(self, arena: Arena) -> Raw:
        nodes = [node.name for node in arena.scenario.nodes]
        (name, size), *more = arena.made.sizes.items()
        assert not more, "the chain passes one file"
        before = arena.lab.uplink_bytes()
        at = ["-", *(f"{arena.lab.address(node)}:{_PORT}" for node in nodes), "-"]
        links: list[NodeProcess] = []
        try:
            for index, role in enumerate([ORIGIN, *nodes]):
                file = arena.made.folder / name if role == ORIGIN else arena.folder(role) / name
                command = [*PLAIN_TCP, "link", str(file), str(size), at[index], at[index + 1]]
                links.append(NodeProcess(role, [*arena.lab.inside(role), *command]))
            for link in links:
                link.wait_ready()
            zero = time.monotonic()
            links[0].go()
            ended = gather(links, zero)
        except BaseException:
            for link in links:
                link.kill()
            raise
        del ended[ORIGIN]
        return arena.raw(ended, size, arena.lab.uplink_since(before))
