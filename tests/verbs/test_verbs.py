"""The conformance suite on a real device, and the faults that only a real one has."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modeldist.transfer.verbs.shard_pages import ShardPages
from rdma import DeviceGone, QueuePairBroken, Rail, RdmaError, Unreachable
from rdma.interface import Endpoint, Memory, QueuePair, RemoteRange
from rdma.verbs import VerbsDevice
from tests.verbs.conformance import MIB, Conformance, Ends, Reading, connect, content, filled, read
from tests.verbs.links import add_device, command, held, rail, soft_device
from tests.verbs.waiting import wait_until


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(scope="module")
def soft() -> Iterator[Rail]:
    with soft_device("rxe0") as found:
        yield found


@pytest.fixture
def ends(soft: Rail) -> Iterator[Ends]:
    devices = VerbsDevice(soft), VerbsDevice(soft)
    yield devices
    for device in devices:
        device.close()


def read_on(child: QueuePair, remote: RemoteRange, into: Memory, ended: list[RdmaError]) -> None:
    """Read again and again until a read fails; how is in `ended` then."""

    def again(failure: RdmaError | None) -> None:
        if failure is None:
            child.read(remote, into, 0, again)
        else:
            ended.append(failure)

    again(None)


class TestVerbs(Conformance):
    def test_connections_leave_nothing_behind(self, soft: Rail, ends: Ends) -> None:
        kinds = ("qp", "mr", "cq")
        before = {kind: held(kind, soft.device) for kind in kinds}
        descriptors = _descriptors()
        for _ in range(50):
            source, data = filled(ends[0], 65536)
            into = ends[1].allocate(65536)
            parent, child = connect(ends)
            assert read(child, parent.expose(source, 0, 65536).remote, into) is None
            assert content(into) == data
            child.close()
            parent.close()
            source.close()
            into.close()
        assert {kind: held(kind, soft.device) for kind in kinds} == before
        assert _descriptors() == descriptors


class TestWithoutWindows(Conformance):
    keys_are_for_one_pair = False

    @pytest.fixture
    def ends(self, soft: Rail) -> Iterator[Ends]:
        devices = VerbsDevice(soft, windows=False), VerbsDevice(soft, windows=False)
        yield devices
        for device in devices:
            device.close()


@pytest.mark.parametrize("how", [QueuePairBroken, DeviceGone])
def test_closing_while_a_parent_is_silent(ends: Ends, how: type[RdmaError]) -> None:
    parent, child = connect(ends)
    source, _ = filled(ends[0], MIB)
    remote = parent.expose(source, 0, MIB).remote
    parent.close()
    into = ends[1].allocate(MIB)
    reading = Reading()
    for _ in range(8):
        child.read(remote, into, 0, reading)
    (child if how is QueuePairBroken else ends[1]).close()
    assert {type(failure) for failure in reading.wait(8)} == {how}


def test_a_gid_that_is_not_routable(ends: Ends) -> None:
    child = ends[1].queue_pair()
    nowhere = ipaddress.IPv6Address("::ffff:203.0.113.9").packed
    with pytest.raises(Unreachable):
        child.connect(Endpoint(17, nowhere, 0, 5, 1024, 16))


def test_packets_of_the_smaller_size(soft: Rail, ends: Ends) -> None:
    parent, child = ends[0].queue_pair(), ends[1].queue_pair()
    smaller = Endpoint(**{**vars(child.endpoint), "mtu": 256})
    parent.connect(smaller)
    child.connect(Endpoint(**{**vars(parent.endpoint), "mtu": 256}))
    source, data = filled(ends[0], MIB)
    into = ends[1].allocate(MIB)
    assert read(child, parent.expose(source, 0, MIB).remote, into) is None
    assert content(into) == data


def test_a_device_removed_in_mid_transfer() -> None:
    with soft_device("rxe7", link="veth7", address=ipaddress.IPv4Address("10.77.7.1")) as soft:
        gone: list[RdmaError] = []
        with closing(VerbsDevice(soft)) as device:
            parent, child = connect((device, device))
            source, _ = filled(device, 64 * MIB)
            into = device.allocate(64 * MIB)
            remote = parent.expose(source, 0, 64 * MIB).remote
            ended: list[RdmaError] = []
            device.when_gone(gone.append)
            for _ in range(4):
                read_on(child, remote, into, ended)
            removal = subprocess.Popen(["rdma", "link", "delete", "rxe7"])
            wait_until("the reads to end", lambda: len(ended) == 4)
            wait_until("the news", lambda: len(gone) == 1)
            assert isinstance(device.gone, DeviceGone)
        assert removal.wait(60) == 0  # the kernel waits until everybody has closed it
        add_device("rxe7", "veth7")
        with closing(VerbsDevice(rail(ipaddress.IPv4Address("10.77.7.1")))) as device:
            parent, child = connect((device, device))
            source, data = filled(device, MIB)
            into = device.allocate(MIB)
            assert read(child, parent.expose(source, 0, MIB).remote, into) is None
            assert content(into) == data


def test_a_port_that_goes_down() -> None:
    with (
        soft_device("rxe6", link="veth6", address=ipaddress.IPv4Address("10.77.6.1")) as soft,
        closing(VerbsDevice(soft)) as device,
    ):
        _, child = connect((device, device))
        command("ip", "link", "set", "veth6", "down")
        wait_until("the event", lambda: device.gone is not None)
        assert isinstance(child.broken, DeviceGone)


PARENT = """
    import sys
    from rdma import discover, rail_at
    from rdma.interface import Endpoint
    from rdma.verbs import VerbsDevice
    import ipaddress, json
    device = VerbsDevice(rail_at(discover(), ipaddress.ip_address(sys.argv[1])))
    pair = device.queue_pair()
    memory = device.allocate(64 << 20)
    me = {**vars(pair.endpoint), "gid": pair.endpoint.gid.hex()}
    print(json.dumps(me), flush=True)
    other = json.loads(sys.stdin.readline())
    pair.connect(Endpoint(**{**other, "gid": bytes.fromhex(other["gid"])}))
    print(json.dumps(vars(pair.expose(memory, 0, 64 << 20).remote)), flush=True)
    sys.stdin.readline()
"""


def test_a_parent_killed_in_mid_read(soft: Rail, ends: Ends) -> None:
    child = ends[1].queue_pair()
    command_line = [sys.executable, "-c", textwrap.dedent(PARENT), str(soft.gid.ip)]
    with subprocess.Popen(command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        parent = json.loads(process.stdout.readline())
        process.stdin.write(json.dumps({**vars(child.endpoint), "gid": child.endpoint.gid.hex()}) + "\n")
        process.stdin.flush()
        child.connect(Endpoint(**{**parent, "gid": bytes.fromhex(parent["gid"])}))
        remote = RemoteRange(**json.loads(process.stdout.readline()))
        into = ends[1].allocate(64 * MIB)
        ended: list[RdmaError] = []
        read_on(child, remote, into, ended)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until("the reads to end", lambda: bool(ended))


MEMLOCK = """
    import ipaddress, resource, sys
    from rdma import RegistrationRefused, discover, rail_at
    from rdma.verbs import VerbsDevice
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
    device = VerbsDevice(rail_at(discover(), ipaddress.ip_address(sys.argv[1])))
    try:
        device.allocate(64 << 20)
    except RegistrationRefused as error:
        print(error.remedy)
    device.close()
"""


def test_a_shard_in_memory_is_read_where_it_lies(soft: Rail, ends: Ends) -> None:
    data, slot = os.urandom(3 * MIB + 100), MIB // 4
    fd = os.memfd_create("shard")  # on tmpfs, whatever is mounted
    os.write(fd, data)
    parent, child = connect(ends)
    into = ends[1].allocate(slot)
    pages = ShardPages(ends[0], memory=2 * MIB, slot=slot, parts=8)
    before = held("mr", soft.device)
    for start in range(0, len(data), slot):
        part = pages.take(fd, start, min(slot, len(data) - start))
        assert part is not None
        exposure = parent.expose(part.memory, part.offset, part.length)
        assert read(child, exposure.remote, into) is None
        assert content(into)[: part.length] == data[start : start + part.length]
        exposure.revoke()
        part.release()
        assert held("mr", soft.device) <= before + 2  # two chunks of 1 MiB
    os.close(fd)
    pages.close()
    assert held("mr", soft.device) == before


def test_registration_refused(soft: Rail) -> None:
    lesser = ["setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"]
    said = command(*lesser, sys.executable, "-c", textwrap.dedent(MEMLOCK), str(soft.gid.ip))
    assert "ulimit -l" in said
