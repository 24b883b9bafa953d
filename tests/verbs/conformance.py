"""What every implementation of `rdma.interface` must do. A test class derives from `Conformance` and has a fixture
`ends`, two open devices that reach each other (or twice the same)."""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from collections.abc import Callable

import pytest

from rdma import AccessRefused, DeviceGone, QueuePairBroken, RdmaError, RegistrationRefused, Unreachable
from rdma.interface import Endpoint, Memory, OpenDevice, QueuePair, RemoteRange
from rdma.pool import Pool

MIB = 1 << 20
PATIENCE = 60.0  # seconds; emulated devices are slow

Ends = tuple[OpenDevice, OpenDevice]


class Reading:
    """Collects how reads ended, in order."""

    def __init__(self) -> None:
        self.ended: list[RdmaError | None] = []
        self._more = threading.Condition()

    def __call__(self, failure: RdmaError | None) -> None:
        with self._more:
            self.ended.append(failure)
            self._more.notify_all()

    def wait(self, count: int = 1) -> list[RdmaError | None]:
        with self._more:
            assert self._more.wait_for(lambda: len(self.ended) >= count, PATIENCE), "no read ended"
            return list(self.ended)


def connect(ends: Ends) -> tuple[QueuePair, QueuePair]:
    """The parent's and the child's queue pair."""
    parent, child = ends[0].queue_pair(), ends[1].queue_pair()
    parent.connect(child.endpoint)
    child.connect(parent.endpoint)
    return parent, child


def filled(device: OpenDevice, length: int) -> tuple[Memory, bytes]:
    memory, data = device.allocate(length), os.urandom(length)
    assert memory.view is not None
    memory.view[:] = data
    return memory, data


def content(memory: Memory) -> bytes:
    assert memory.view is not None
    return bytes(memory.view)


def read(child: QueuePair, source: RemoteRange, into: Memory, offset: int = 0) -> RdmaError | None:
    reading = Reading()
    child.read(source, into, offset, reading)
    return reading.wait()[0]


class Conformance:
    """Derive from it."""

    keys_are_for_one_pair = True

    def test_reads_bring_the_exposed_bytes(self, ends: Ends) -> None:
        parent, child = connect(ends)
        source, data = filled(ends[0], 4 * MIB)
        into = ends[1].allocate(5 * MIB)
        exposure = parent.expose(source, MIB // 2, 3 * MIB + 17)
        assert read(child, exposure.remote, into, 4096) is None
        assert content(into)[4096 : 4096 + 3 * MIB + 17] == data[MIB // 2 : MIB // 2 + 3 * MIB + 17]
        assert not any(content(into)[:4096])
        assert not any(content(into)[4096 + 3 * MIB + 17 :])

    def test_many_reads_in_flight_end_in_order(self, ends: Ends) -> None:
        parent, child = connect(ends)
        source, data = filled(ends[0], 4 * MIB)
        into = ends[1].allocate(4 * MIB)
        exposure = parent.expose(source, 0, 4 * MIB)
        order: list[int] = []
        reading = Reading()
        size = 8192
        offsets = range(0, 4 * MIB, size)  # more than a send queue holds

        def when_read(offset: int) -> Callable[[RdmaError | None], None]:
            def on_read(failure: RdmaError | None) -> None:
                order.append(offset)
                reading(failure)

            return on_read

        for offset in offsets:
            child.read(exposure.remote.part(offset, size), into, offset, when_read(offset))
        assert set(reading.wait(len(offsets))) == {None}
        assert order == list(offsets)
        assert content(into) == data

    def test_both_sides_may_read(self, ends: Ends) -> None:
        one, other = connect(ends)
        for device, reader, exposer, far in ((ends[0], one, other, ends[1]), (ends[1], other, one, ends[0])):
            source, data = filled(far, 4096)
            into = device.allocate(4096)
            assert read(reader, exposer.expose(source, 0, 4096).remote, into) is None
            assert content(into) == data

    @pytest.mark.parametrize("where", ["before", "behind"])
    def test_nothing_but_the_exposed_range_can_be_read(self, ends: Ends, where: str) -> None:
        parent, child = connect(ends)
        source, _ = filled(ends[0], 3 * MIB)
        into = ends[1].allocate(3 * MIB)
        remote = parent.expose(source, MIB, MIB).remote
        start = remote.address - 4096 if where == "before" else remote.address + 4096
        failure = read(child, RemoteRange(start, MIB, remote.key), into)
        assert isinstance(failure, AccessRefused), failure
        assert isinstance(child.broken, AccessRefused)
        assert read(child, remote, into) is child.broken  # it has to be made anew
        child.close()
        parent.close()

    def test_a_revoked_key_opens_nothing(self, ends: Ends) -> None:
        parent, child = connect(ends)
        source, data = filled(ends[0], MIB)
        into = ends[1].allocate(MIB)
        kept, revoked = parent.expose(source, 0, MIB), parent.expose(source, 0, MIB)
        revoked.revoke()
        revoked.revoke()
        assert read(child, kept.remote, into) is None  # each has a key of its own
        assert content(into) == data
        assert isinstance(read(child, revoked.remote, into), AccessRefused)

    def test_a_key_is_for_one_queue_pair(self, ends: Ends) -> None:
        parent, _ = connect(ends)
        _, stranger = connect(ends)
        source, _ = filled(ends[0], MIB)
        into = ends[1].allocate(MIB)
        failure = read(stranger, parent.expose(source, 0, MIB).remote, into)
        if self.keys_are_for_one_pair:
            assert isinstance(failure, AccessRefused)
            assert not any(content(into))

    def test_connections_are_made_again_after_a_failure(self, ends: Ends) -> None:
        source, data = filled(ends[0], MIB)
        into = ends[1].allocate(MIB)
        for _ in range(2):
            parent, child = connect(ends)
            bad = RemoteRange(0, 4096, 1)
            assert isinstance(read(child, bad, into), AccessRefused)
            child.close()
            parent.close()
        parent, child = connect(ends)
        assert read(child, parent.expose(source, 0, MIB).remote, into) is None
        assert content(into) == data

    def test_a_parent_that_went_away(self, ends: Ends) -> None:
        parent, child = connect(ends)
        source, _ = filled(ends[0], MIB)
        remote = parent.expose(source, 0, MIB).remote
        parent.close()
        assert isinstance(read(child, remote, ends[1].allocate(MIB)), Unreachable | AccessRefused)

    def test_closing_ends_what_is_outstanding(self, ends: Ends) -> None:
        parent, child = connect(ends)
        source, _ = filled(ends[0], 16 * MIB)
        remote = parent.expose(source, 0, 16 * MIB).remote
        into = ends[1].allocate(16 * MIB)
        reading = Reading()
        for _ in range(8):
            child.read(remote, into, 0, reading)
        child.close()
        ended = reading.wait(8)
        assert len(ended) == 8
        assert all(failure is None or isinstance(failure, QueuePairBroken) for failure in ended)
        with pytest.raises(QueuePairBroken):
            child.expose(into, 0, 1)
        with pytest.raises(QueuePairBroken):
            child.connect(parent.endpoint)
        child.close()

    def test_bad_ranges(self, ends: Ends) -> None:
        parent, child = connect(ends)
        source, _ = filled(ends[0], 8192)
        for offset, length in ((-1, 10), (0, 0), (1, 8192)):
            with pytest.raises(ValueError, match="not within"):
                parent.expose(source, offset, length)
        remote = parent.expose(source, 0, 8192).remote
        for offset, length in ((-1, 10), (1, 8192)):
            with pytest.raises(ValueError, match="not within"):
                remote.part(offset, length)
        into = ends[1].allocate(8192)
        for offset in (-1, 1):
            with pytest.raises(ValueError, match="not within"):
                child.read(remote, into, offset, Reading())
        assert read(child, remote, into) is None

    def test_what_is_no_dma_buf_is_refused(self, ends: Ends) -> None:
        ours, theirs = os.pipe()
        try:
            with pytest.raises(RegistrationRefused):
                ends[1].register_dmabuf(ours, 0, 4096)
        finally:
            os.close(ours)
            os.close(theirs)
        parent, child = connect(ends)  # and the device is as good as before
        source, data = filled(ends[0], 4096)
        into = ends[1].allocate(4096)
        assert read(child, parent.expose(source, 0, 4096).remote, into) is None
        assert content(into) == data

    @pytest.mark.parametrize("length", [1 << 60, 1 << 70])
    def test_more_memory_than_any_machine_has_is_refused(self, ends: Ends, length: int) -> None:
        with pytest.raises(RegistrationRefused, match=f"{length} bytes"):
            ends[0].allocate(length)

    def test_a_pool_hands_out_its_slots(self, ends: Ends) -> None:
        parent, child = connect(ends)
        pool = Pool(ends[0], slot=MIB, slots=2)
        one, two = pool.take(), pool.take()
        assert one is not None
        assert two is not None
        assert pool.take() is None
        one.view[:] = b"1" * MIB
        two.view[:] = b"2" * MIB
        into = ends[1].allocate(MIB)
        assert read(child, parent.expose(two.memory, two.offset, two.length).remote, into) is None
        assert content(into) == b"2" * MIB
        two.release()
        assert pool.free == 1
        with pytest.raises(KeyError):
            two.release()
        again = pool.take()
        assert again is not None
        assert bytes(again.view) == b"2" * MIB

    def test_a_file_in_memory_is_exposed_where_it_lies(self, ends: Ends) -> None:
        parent, child = connect(ends)
        before, after = os.urandom(3 * 65536), os.urandom(65536)
        fd = os.memfd_create("shard")
        try:
            os.write(fd, before)
            pages = mmap.mmap(fd, 2 * 65536, offset=65536)
        finally:
            os.close(fd)
        memory = ends[0].register(memoryview(pages), readable_only=True)
        into = ends[1].allocate(65536)
        exposure = parent.expose(memory, 65536, 65536)
        assert read(child, exposure.remote, into) is None
        assert content(into) == before[2 * 65536 :]
        pages[65536:] = after  # no copy was made of it
        assert read(child, exposure.remote, into) is None
        assert content(into) == after
        exposure.revoke()
        memory.close()
        mapped = weakref.ref(pages)
        del memory, pages
        assert mapped() is None  # at once: a deleted file in memory is kept by its last mapping

    def test_nothing_is_read_into_what_is_only_readable(self, ends: Ends) -> None:
        parent, child = connect(ends)
        source, _ = filled(ends[0], 4096)
        pages = mmap.mmap(-1, 4096)
        into = ends[1].register(memoryview(pages), readable_only=True)
        assert isinstance(read(child, parent.expose(source, 0, 4096).remote, into), QueuePairBroken)
        assert not any(pages[:])

    def test_fifty_connections_opened_and_closed(self, ends: Ends) -> None:
        source, data = filled(ends[0], 65536)
        into = ends[1].allocate(65536)
        for _ in range(50):
            parent, child = connect(ends)
            assert read(child, parent.expose(source, 0, 65536).remote, into) is None
            child.close()
            parent.close()
        assert content(into) == data

    def test_a_closed_device_ends_everything(self, ends: Ends) -> None:
        parent, child = connect(ends)
        source, _ = filled(ends[0], 16 * MIB)
        remote = parent.expose(source, 0, 16 * MIB).remote
        into = ends[1].allocate(16 * MIB)
        reading = Reading()
        gone: list[RdmaError] = []
        ends[1].when_gone(gone.append)
        for _ in range(4):
            child.read(remote, into, 0, reading)
        ends[1].close()
        assert all(failure is None or isinstance(failure, DeviceGone) for failure in reading.wait(4))
        assert [type(reason) for reason in gone] == [DeviceGone]
        assert isinstance(child.broken, DeviceGone)
        for attempt in (ends[1].queue_pair, lambda: ends[1].allocate(4096)):
            with pytest.raises(DeviceGone):
                attempt()
        ends[1].when_gone(gone.append)
        assert len(gone) == 2
        ends[1].close()


def test_what_no_queue_pair_can_be() -> None:
    good = Endpoint(1, bytes(16), 0, 0, 1024, 16)
    for bad in (
        {"number": 1 << 24},
        {"gid": bytes(15)},
        {"mtu": 1500},
        {"reads": 256},
        {"packet": -1},
        {"lid": 1 << 16},
    ):
        with pytest.raises(ValueError, match="no queue pair"):
            Endpoint(**{**vars(good), **bad})  # type: ignore[arg-type]
    for bad_range in ((-1, 1, 0), (0, 0, 0), ((1 << 64) - 1, 2, 0), (0, 1, 1 << 32)):
        with pytest.raises(ValueError, match="no memory"):
            RemoteRange(*bad_range)
