"""libtorrent: a seeder at the origin, a peer per node, everybody told of everybody (no tracker to wait for)."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib import util
from pathlib import Path

from modeldist.scheduler.pieces import piece_size_for
from tests.netlab.figures import Raw
from tests.netlab.namespaces import LabError
from tests.netlab.rivals.base import Arena, NodeProcess, gather
from tests.netlab.topology import ORIGIN

_PROGRAM = [sys.executable, str(Path(__file__).parents[1] / "programs" / "torrent.py")]


class LibTorrent:
    name = "libtorrent"
    says = (
        "warm sessions, peers given by address, unlimited unchoke slots, TCP without encryption, no super-seeding (it "
        "saves origin bytes and costs a third of the speed), "
        "pieces of our size, long request queues (`tests/netlab/programs/torrent.py` has all settings)"
    )

    def missing(self) -> str:
        return "" if util.find_spec("libtorrent") else "not installed (pip install libtorrent)"

    def run(self, arena: Arena) -> Raw:
        ((name, size),) = arena.made.sizes.items()
        torrent = arena.home / "model.torrent"
        making = [*_PROGRAM, "make", str(arena.made.folder / name), str(torrent), str(piece_size_for(size))]
        subprocess.run(making, check=True)
        addresses = {node.name: arena.lab.address(node.name) for node in arena.scenario.nodes}
        seeder = self._seeder(arena, torrent)
        processes: list[NodeProcess] = []
        try:
            before = arena.lab.uplink_bytes()
            for node, address in addresses.items():
                # A pair connects once: each calls the nodes before it.
                called = [arena.lab.address(ORIGIN), *list(addresses.values())[: list(addresses).index(node)]]
                command = [*_PROGRAM, "fetch", str(torrent), str(arena.folder(node)), address, *called]
                processes.append(NodeProcess(node, [*arena.lab.inside(node), *command]))
            for process in processes:
                process.wait_ready()
            zero = time.monotonic()
            for process in processes:
                process.go()
            ended = gather(processes, zero)
            sent, _ = seeder.communicate(timeout=20)
        except BaseException:
            for process in processes:
                process.kill()
            seeder.kill()
            seeder.wait()
            raise
        return arena.raw(ended, int(sent), arena.lab.uplink_since(before))

    @staticmethod
    def _seeder(arena: Arena, torrent: Path) -> subprocess.Popen[str]:
        command = [*_PROGRAM, "seed", str(torrent), str(arena.made.folder), arena.lab.address(ORIGIN)]
        seeder = subprocess.Popen(
            [*arena.lab.inside(ORIGIN), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert seeder.stdout is not None
        if seeder.stdout.readline().strip() != "ready":
            seeder.kill()
            seeder.wait()
            raise LabError("the seeder did not start")
        return seeder
