"""A transport with RDMA lanes over devices in memory."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from modeldist.transfer.base import CheckCapability, ServerLimits
from modeldist.transfer.tcp import TcpPieceServer, TcpTransport
from modeldist.transfer.verbs import NodeRails
from rdma import Gid, Rail
from rdma.double import MemoryDevice, MemoryFabric
from tests.unit.transfer.shelf import GOOD, Child, Digest, Shelf, until
from tests.unit.transfer.transport_conformance import World


def rail(name: str, number: int = 1) -> Rail:
    address = ipaddress.IPv6Address(f"::ffff:10.0.{number}.{len(name)}")
    return Rail(name, 1, Gid(1, address, "RoCE v2", "eth0"), 1e9, 0)


class Node:
    """A node's rails, and its devices by name as they are opened."""

    def __init__(
        self, fabric: MemoryFabric, *names: str, slots: int = 16, slot: int = 65536, in_memory: bool = False
    ) -> None:
        self.devices: dict[str, MemoryDevice] = {}
        self.found = tuple(rail(name, number) for number, name in enumerate(names))

        def open_device(found: Rail) -> MemoryDevice:
            device = fabric.device(found.device)
            self.devices[found.device] = device
            return device

        self.rails = NodeRails(
            find=lambda: self.found,
            open_device=open_device,
            memory=2 * slots * slot,
            in_memory=in_memory,
            slot=slot,
            look_every=0.02,
        )
        self.rails.start()


class LaneChild(Child):
    """Has its lanes open before it asks for anything."""

    async def subscribe(self, shard: Digest, capability: bytes = GOOD) -> None:
        await super().subscribe(shard, capability)
        if capability == GOOD and self.haves[-1][1]:
            await until(lambda: self.connection.lanes)  # type: ignore[attr-defined]


@dataclass
class LanesWorld(World):
    """`parent` and `node` are the two nodes."""

    parent: Node = None  # type: ignore[assignment]
    node: Node = None  # type: ignore[assignment]

    async def child(self, server: object, name: str = "child") -> Child:
        child = LaneChild(self.folder / f"target-{len(self.children)}")
        self.children.append(child)
        return await child.connect(self.transport, server.address, name)  # type: ignore[attr-defined]

    async def end(self) -> None:
        await super().end()
        await until(lambda: all(rail.serving.free == rail.serving.slots for rail in self.parent.rails.rails))
        await until(lambda: all(rail.receiving.free == rail.receiving.slots for rail in self.node.rails.rails))
        self.parent.rails.close()
        self.node.rails.close()


def lanes_world(folder: Path, parent: Node, node: Node) -> LanesWorld:
    def serve(shelf: Shelf, check: CheckCapability, limits: ServerLimits) -> TcpPieceServer:
        return TcpPieceServer(shelf, host="127.0.0.1", check=check, limits=limits, node="parent", rails=parent.rails)

    return LanesWorld(folder, serve, TcpTransport(rails=node.rails), parent=parent, node=node)
