"""A world to break: nodes with disks of their own, a control plane on PostgreSQL, a registry, and the web server that
has its blobs, each in a network namespace of its own behind a link of its own.

with World(2) as world:
    model = world.publish(rng)
    pull = world.pull(0, model.reference)      # a running `modeldist pull --json` on node 0
    world.agents[1].kill()
    world.well()                               # everything runs again and all nodes have joined
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from modeldist.agent.local_client import LocalAgent
from modeldist.errors import ModeldistError
from tests.chaos.matrix.disks import Disk, unmount_below
from tests.chaos.matrix.parties import Party, nginx_config, registry_config
from tests.chaos.matrix.published import Published, publish
from tests.chaos.matrix.room import Room, demand, needed
from tests.chaos.matrix.shifted_clock import ShiftedClock
from tests.netlab import namespaces
from tests.netlab.namespaces import own, run, shape
from tests.netlab.scenario import LabNode, LabScenario
from tests.netlab.topology import CONTROL, ORIGIN, Topology
from tests.servers.cluster import MODELDIST
from tests.servers.postgres_cluster import postgres_binaries

REGISTRY, DATABASE = "registry", "database"
_FABRIC = "fabric"
RATE = 24.0  # Mbit/s of the origin's link: slow enough to be met in the middle
_LINK = 200.0  # of all others
SLOWED = 0.5  # of a link that is slow
WEIGHTS = 4_000_000  # bytes
_DISK = 160 << 20  # bytes
HOMES = Path("/tmp")
_CONTROL_PORT, _PIECES_PORT, _REGISTRY_PORT, _ORIGIN_PORT, _DATABASE_PORT = 7420, 7421, 5000, 8080, 5432


def missing() -> str:
    """Why no world can be made here, "" where one can."""
    if why := namespaces.missing():
        return why
    programs = ("docker-registry", "nginx", "mkfs.ext4", "setpriv", "gcc")
    for program in programs:
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"{program} is not installed"
    return "" if postgres_binaries() else "PostgreSQL is not installed"


class World:
    """Context manager; everything of it is gone when it ends. `room`: what the machine's own disk has left. Raises
    NoRoom where that is less than it needs."""

    def __init__(self, nodes: int, *, disk: int = _DISK, weights: int = WEIGHTS) -> None:
        links = [LabNode(f"n{index}", _LINK, _LINK) for index in range(nodes)]
        others = [LabNode(role, _LINK, _LINK) for role in (REGISTRY, DATABASE)]
        self.lab = Topology(LabScenario("world", "", (), (*links, *others), RATE))
        self.size = nodes
        self._disk = disk
        self._weights = weights
        self._stack = ExitStack()
        self._harmed: set[str] = set()  # links
        self._all_disks: list[Disk] = []
        self.parties: list[Party] = []  # the agents last
        self.models: list[Published] = []

    # --- its life --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        _sweep()
        try:
            demand(HOMES, room_for(1, self.size, self._disk))
            self.home = namespaces.own_folder(HOMES)
            self._stack.callback(shutil.rmtree, self.home, ignore_errors=True)
            self.home.chmod(0o755)  # PostgreSQL is another user
            self.room = self._stack.enter_context(Room(self.home))
            self._stack.callback(unmount_below, self.home)
            # Each process gets a mount namespace with its network: what is unmounted here is to be gone there too.
            run("mount", "--bind", str(self.home), str(self.home))
            run("mount", "--make-shared", str(self.home))
            self._stack.enter_context(self.lab)
            self._stack.callback(self._end)
            self._make()
            self.well()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _make(self) -> None:
        self.storage = self.home / "storage"
        self.storage.mkdir()
        self.clock = ShiftedClock(self.home)
        self.disks = [self._new_disk(f"n{index}") for index in range(self.size)]
        self.database_disk = self._new_disk(DATABASE)
        self.registry = self._joins(self._registry())
        self.origin = self._joins(self._origin())
        self.database = self._joins(self._database())
        self.control = self._joins(self._control())
        self.agents = [self._joins(self._agent(index)) for index in range(self.size)]
        self.clients = [LocalAgent(self.home / f"n{index}.sock") for index in range(self.size)]

    def _end(self) -> None:
        for disk in self._all_disks:
            disk.thaw()
        for party in self.parties:
            party.wake()
            party.kill()

    def well(self) -> None:
        """Everything works: links, disks, processes, sessions."""
        for role in sorted(self._harmed):
            self.link_up(role)
        for disk in self._all_disks:
            disk.thaw()
            disk.mount()
            disk.empty()
        for party in self.parties[: -self.size]:
            party.well()
        for agent in self.agents:
            if not agent.running:
                agent.start()
        for agent in self.agents:
            agent.well()

    def log(self, size: int = 1500) -> str:
        """The end of what everybody said, and of what the origin wrote down of its answers."""
        said = [(party.name, party.log) for party in self.parties]
        said.insert(2, ("what the origin answered", self._answers.read_text()))
        return "\n".join([str(self.room), *(f"--- {who}\n{log[-size:]}" for who, log in said)])

    # --- what happens in it ----------------------------------------------------------------------------------------

    def publish(self, rng: random.Random) -> Published:
        """A model that nobody has seen before."""
        host = f"{self.lab.address(REGISTRY)}:{_REGISTRY_PORT}"
        self.models.append(publish(self.storage, host, rng, self._weights))
        return self.models[-1]

    def start(self, node: int, *command: str) -> subprocess.Popen[str]:
        """A modeldist command on a node."""
        return subprocess.Popen(
            [*self.lab.inside(f"n{node}"), *MODELDIST, *command],
            env=self._user(node),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pull(self, node: int, reference: str) -> subprocess.Popen[str]:
        return self.start(node, "pull", "--agent", "--json", reference)

    def store(self, node: int) -> Path:
        return self.disks[node].path / "store"

    def forget(self, model: Published) -> None:
        """No node has it any more, and the registry neither."""
        for client in self.clients:
            with contextlib.suppress(ModeldistError):
                client.remove(model.reference)
        model.forget()
        self.models.remove(model)

    def origin_bytes(self, model: Published) -> int:
        """Bytes of this model's files that the origin has answered, by its log: one line of an answer that ended."""
        blobs = "/docker/registry/v2/blobs/sha256/"
        paths = {f"{blobs}{name[7:9]}/{name[7:]}/data" for name in model.digests.values()}
        return sum(sent for path, sent in self._answered() if path in paths)

    def origin_account(self) -> str:
        """What the origin ever sent, by its link and by its log. The link knows more: heads, and answers cut short."""
        link, log = self.origin.sent(), sum(sent for _, sent in self._answered())
        return f"since it was made, the origin sent {link / 1e6:.2f} MB by its link, {log / 1e6:.2f} MB by its log"

    def _answered(self) -> Iterator[tuple[str, int]]:
        for line in self._answers.read_text().splitlines():
            path, _, sent = line.partition(" ")
            if sent.isdigit():  # a line may be cut short where there is no room for more
                yield path, int(sent)

    @property
    def _answers(self) -> Path:
        return self.home / "origin-access.log"

    def listens(self, node: int) -> bool:
        """Whether its agent takes commands; it may be stopped all the same."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(0.1)
            try:
                asking.connect(str(self.home / f"n{node}.sock"))
            except OSError:
                return False
        return True

    def registry_is_asked(self) -> bool:
        return self.registry.is_asked(_REGISTRY_PORT)

    def under_shifted_clock(self, party: Party) -> None:
        """Have it started again where its clock can be shifted."""
        self.clock.set(0)
        party.environment = {**party.environment, **self.clock.environment}
        party.restart()
        self.well()

    def under_the_true_clock(self, party: Party) -> None:
        party.environment = {
            name: value for name, value in party.environment.items() if name not in self.clock.environment
        }
        party.restart()
        self.clock.set(0)

    # --- links -----------------------------------------------------------------------------------------------------

    def cut(self, role: str) -> None:
        """What it sends and what is sent to it is lost, without a word."""
        self._harmed.add(role)
        run("ip", "-n", own(_FABRIC), "link", "set", f"v-{role}", "type", "bridge_slave", "state", "0")

    def link_slow(self, role: str) -> None:
        self._harmed.add(role)
        self._shape(role, SLOWED)

    def link_down(self, role: str) -> None:
        self._harmed.add(role)
        run("ip", "-n", own(_FABRIC), "link", "set", f"v-{role}", "down")

    def link_up(self, role: str) -> None:
        """As it was at first."""
        run("ip", "-n", own(_FABRIC), "link", "set", f"v-{role}", "up")
        run("ip", "-n", own(_FABRIC), "link", "set", f"v-{role}", "type", "bridge_slave", "state", "3")
        self._shape(role, RATE if role == ORIGIN else _LINK)
        self._harmed.discard(role)

    def _shape(self, role: str, mbit: float) -> None:
        run("tc", "-n", own(role), "qdisc", "replace", "dev", "eth0", "root", *shape(mbit))
        run("tc", "-n", own(_FABRIC), "qdisc", "replace", "dev", f"v-{role}", "root", *shape(mbit))

    # --- parties ---------------------------------------------------------------------------------------------------

    def _joins(self, party: Party) -> Party:
        self.parties.append(party)
        return party

    def _registry(self) -> Party:
        config = self.home / "registry.json"
        address, blobs = self.lab.address(REGISTRY), f"http://{self.lab.address(ORIGIN)}:{_ORIGIN_PORT}"
        config.write_text(registry_config(self.storage, address, _REGISTRY_PORT, blobs))
        command = [*self.lab.inside(REGISTRY), "env", "GOMAXPROCS=1", "docker-registry"]
        arguments = ["serve", str(config)]
        return Party(
            "registry", REGISTRY, command, arguments, self.home, ready=lambda party: party.listens(_REGISTRY_PORT)
        )

    def _origin(self) -> Party:
        config = self.home / "nginx.conf"
        config.write_text(nginx_config(self.home, self.storage, self.lab.address(ORIGIN), _ORIGIN_PORT))
        command, arguments = [*self.lab.inside(ORIGIN), "nginx"], ["-c", str(config), "-p", str(self.home)]
        return Party("origin", ORIGIN, command, arguments, self.home, ready=lambda party: party.listens(_ORIGIN_PORT))

    def _database(self) -> Party:
        binaries = postgres_binaries()
        assert binaries is not None
        account = pwd.getpwnam("postgres")
        data = self.database_disk.path / "data"
        data.mkdir(mode=0o700)
        os.chown(data, account.pw_uid, account.pw_gid)
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        run(*become, str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync")
        with (data / "pg_hba.conf").open("a") as hosts:
            hosts.write("host all all 10.0.0.0/8 trust\n")
        options = {
            "listen_addresses": self.lab.address(DATABASE),
            "port": str(_DATABASE_PORT),
            "unix_socket_directories": "",
            "max_wal_size": "64MB",
            "min_wal_size": "32MB",
            "shared_buffers": "16MB",
        }
        arguments = ["-D", str(data), *(f"--{name}={value}" for name, value in options.items())]
        place = ["-h", self.lab.address(DATABASE), "-p", str(_DATABASE_PORT)]
        asked = [str(binaries / "pg_isready"), "-q", "-U", "postgres", *place]  # else it is logged that root is nobody
        command = [*self.lab.inside(DATABASE), *become, str(binaries / "postgres")]
        return Party(
            "database",
            DATABASE,
            command,
            arguments,
            self.home,
            ready=lambda _: _succeeds([*self.lab.inside(DATABASE), *asked]),
            ends_by=signal.SIGINT,
        )

    def _control(self) -> Party:
        registry = f"{self.lab.address(REGISTRY)}:{_REGISTRY_PORT}"
        arguments = [
            *("server", "--host", self.lab.address(CONTROL), "--port", str(_CONTROL_PORT), "--allow-plain-http"),
            *("--state-dir", str(self.home / CONTROL), "--plain-http", registry),
        ]
        # In the environment: a URL with a password would be no argument either.
        database = f"postgresql+asyncpg://postgres@{self.lab.address(DATABASE)}:{_DATABASE_PORT}/postgres"
        return Party(
            "control",
            CONTROL,
            [*self.lab.inside(CONTROL), *MODELDIST],
            arguments,
            self.home,
            ready=lambda party: party.listens(_CONTROL_PORT),
            environment={"MODELDIST_SERVER_DATABASE_URL": database},
        )

    def _agent(self, index: int) -> Party:
        role = f"n{index}"
        arguments = [
            *("agent", "--control", f"http://{self.lab.address(CONTROL)}:{_CONTROL_PORT}", "--name", role),
            *("--token-file", str(self.home / CONTROL / "agent.token"), "--store", str(self.store(index))),
            *("--socket", str(self.home / f"{role}.sock"), "--listen", f"{self.lab.address(role)}:{_PIECES_PORT}"),
            *("--plain-http", f"{self.lab.address(REGISTRY)}:{_REGISTRY_PORT}"),
        ]
        command = [*self.lab.inside(role), *MODELDIST]
        return Party(role, role, command, arguments, self.home, ready=lambda _: self._joined(index))

    def _joined(self, index: int) -> bool:
        try:
            return bool(self.clients[index].status()["connected"])
        except (ModeldistError, OSError):
            return False

    def _user(self, node: int) -> dict[str, str]:
        return {
            **os.environ,
            "MODELDIST_STORE": str(self.store(node)),
            "MODELDIST_SOCKET": str(self.home / f"n{node}.sock"),
            "NO_COLOR": "1",
        }

    def _new_disk(self, name: str) -> Disk:
        self._all_disks.append(Disk(self.home / f"{name}.img", self.home / f"disk-{name}", self._disk, whole=True))
        return self._all_disks[-1]


def room_for(worlds: int, nodes: int, disk: int = _DISK) -> int:
    """Bytes that so many worlds at once take of the disk under them; one disk of each is the database's."""
    return needed(worlds, nodes + 1, disk)


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _sweep() -> None:
    """What worlds left that were killed. One process at a time: others look for the same."""
    everybodys = os.open(HOMES, os.O_RDONLY)
    try:
        fcntl.flock(everybodys, fcntl.LOCK_EX)
        namespaces.sweep()
        for folder in HOMES.glob("netlab-*"):
            pid = folder.name.split("-")[1]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                unmount_below(folder)
        namespaces.sweep_folders(HOMES)
    finally:
        os.close(everybodys)
