"""One end of a reliable connection: a queue pair with a completion queue of its own."""

from __future__ import annotations

import contextlib
import errno
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rdma.errors import QueuePairBroken, RdmaError, Unreachable
from rdma.interface import OPERATION, Endpoint, Memory, OnRead, RemoteRange
from rdma.verbs.completion_status import failure_of
from rdma.verbs.descriptors import with_event_descriptor
from rdma.verbs.library import error_number, library
from rdma.verbs.memory import VerbsMemory
from rdma.verbs.send_queue import Posting, SendQueue

if TYPE_CHECKING:
    from rdma.verbs.device import VerbsDevice

DEPTH = 128  # operations posted at a time: 128 MiB, a hundredth of a second at 100 Gb/s
_POLL = 32
# The InfiniBand specification's codes: 4.096 us * 2^16 = 0.27 s until an answer counts as lost, six times (Soft-RoCE
# takes seven for ever); a receiver that is not ready, which one-sided reads never meet, 0.64 ms and for ever.
_TIMEOUT, _RETRIES, _RNR_TIMER, _RNR_RETRIES = 16, 6, 12, 7
_HOP_LIMIT = 64


@dataclass(frozen=True)
class _Read:
    source: RemoteRange
    address: int
    lkey: int


@dataclass(frozen=True)
class _Bind:
    window: Any
    region: Any
    address: int
    length: int


_Done = Callable[[RdmaError | None], None]


class VerbsQueuePair:
    """Made by `VerbsDevice.queue_pair`. A lock guards the verbs objects; callbacks come without it."""

    def __init__(self, device: VerbsDevice) -> None:
        verbs = library()
        self._device = device
        self._lock = threading.RLock()
        self._queue: SendQueue[_Read | _Bind, _Done] = SendQueue(DEPTH)
        self._exposures: set[VerbsExposure] = set()
        self._broken: RdmaError | None = None
        self._open = False
        with contextlib.ExitStack() as made:
            try:
                self._channel, self._fd = with_event_descriptor(lambda: verbs.CompChannel(device.context))
                made.callback(self._channel.close)
                self._completions = verbs.CQ(device.context, 2 * DEPTH, None, self._channel)
                made.callback(self._completions.close)
                limits = verbs.QPCap(
                    max_send_wr=DEPTH, max_recv_wr=1, max_send_sge=1, max_recv_sge=1, max_inline_data=0
                )
                kind = verbs.QPInitAttr(
                    qp_type=verbs.enums.IBV_QPT_RC,
                    scq=self._completions,
                    rcq=self._completions,
                    cap=limits,
                    sq_sig_all=False,
                )
                self._pair = verbs.QP(device.domain, kind, self._initial())
                made.callback(self._pair.close)
                self._completions.req_notify()
            except verbs.Error as error:
                raise QueuePairBroken(f"{device.name} gives no queue pair: {error}.") from error
            self._destroy = made.pop_all()
        self._open = True
        device.events.watch(self._fd, self._on_event)
        self.endpoint = Endpoint(
            self._pair.qp_num,
            device.gid,
            device.lid,
            secrets.randbits(24),
            device.mtu,
            device.reads_answered,
        )

    def _initial(self) -> Any:
        verbs = library()
        attributes = verbs.QPAttr(port_num=self._device.port)
        attributes.qp_access_flags = verbs.enums.IBV_ACCESS_REMOTE_READ
        return attributes

    @property
    def broken(self) -> RdmaError | None:
        return self._broken

    def connect(self, other: Endpoint) -> None:
        verbs = library()
        device = self._device
        attributes = self._initial()
        attributes.path_mtu = (min(device.mtu, other.mtu) >> 8).bit_length()  # ibv_mtu: 1 is 256 bytes, 5 is 4096
        attributes.dest_qp_num = other.number
        attributes.rq_psn = other.packet
        attributes.sq_psn = self.endpoint.packet
        attributes.max_dest_rd_atomic = self.endpoint.reads
        attributes.max_rd_atomic = min(device.reads_asked, other.reads)
        attributes.min_rnr_timer = _RNR_TIMER
        attributes.timeout = _TIMEOUT
        attributes.retry_cnt = _RETRIES
        attributes.rnr_retry = _RNR_RETRIES
        attributes.ah_attr = self._path(other)
        with self._lock:
            self._check()
            try:
                self._pair.to_rts(attributes)
            except verbs.Error as error:
                raise self._not_connected(error, other) from error

    def _path(self, other: Endpoint) -> Any:
        verbs = library()
        if other.lid:  # InfiniBand within a subnet
            return verbs.AHAttr(dlid=other.lid, port_num=self._device.port)
        route = verbs.GlobalRoute(
            dgid=verbs.GID(_colons(other.gid)), sgid_index=self._device.gid_index, hop_limit=_HOP_LIMIT
        )
        return verbs.AHAttr(gr=route, is_global=1, port_num=self._device.port)

    def _not_connected(self, error: Exception, other: Endpoint) -> RdmaError:
        where = f"{self._device.name} to {_colons(other.gid)}"
        if error_number(error) in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.EINVAL):
            return Unreachable(f"There is no way from {where}: {error}.")
        return QueuePairBroken(f"The queue pair from {where} cannot be connected: {error}.")

    # --- the parent's side ---

    def expose(self, memory: Memory, offset: int, length: int) -> VerbsExposure:
        assert isinstance(memory, VerbsMemory)
        if offset < 0 or length < 1 or offset + length > memory.length:
            raise ValueError(f"{length} bytes from {offset} are not within {memory.length}")
        return self._window(memory, offset, length) if self._device.windows else self._region(memory, offset, length)

    def _window(self, memory: VerbsMemory, offset: int, length: int) -> VerbsExposure:
        """A memory window bound to this queue pair alone, with a key of its own."""
        verbs = library()
        outcome: list[RdmaError | None] = []
        bound = threading.Event()

        def done(failure: RdmaError | None) -> None:
            outcome.append(failure)
            bound.set()

        address = memory.address + offset
        with self._lock, contextlib.ExitStack() as made:
            self._check()
            try:
                region = memory.region
                if self._device.windows_are_wide:
                    access = verbs.enums.IBV_ACCESS_LOCAL_WRITE | verbs.enums.IBV_ACCESS_MW_BIND
                    region = verbs.MR(self._device.domain, length, access, address=address)
                    made.callback(region.close)
                window = verbs.MW(self._device.domain, verbs.enums.IBV_MW_TYPE_2)
                made.callback(window.close)
            except verbs.Error as error:
                raise QueuePairBroken(f"{self._device.name} gives no memory window: {error}.") from error
            remote = RemoteRange(address, length, _next_key(window.rkey))
            exposure = VerbsExposure(self, remote, made.pop_all())
            self._exposures.add(exposure)
            self._add(done, [_Bind(window, region, address, length)])
        bound.wait()
        if failure := outcome[0]:
            exposure.revoke()
            raise failure
        return exposure

    def _region(self, memory: VerbsMemory, offset: int, length: int) -> VerbsExposure:
        """A registration of the range alone: for devices without windows of the second kind. Its key opens it to every
        queue pair of this process on this device."""
        verbs = library()
        address = memory.address + offset
        with self._lock, contextlib.ExitStack() as made:
            self._check()
            try:
                access = verbs.enums.IBV_ACCESS_REMOTE_READ
                region = verbs.MR(self._device.domain, length, access, address=address)
            except verbs.Error as error:
                raise QueuePairBroken(f"{self._device.name} exposes no memory: {error}.") from error
            made.callback(region.close)
            exposure = VerbsExposure(self, RemoteRange(address, length, region.rkey), made.pop_all())
            self._exposures.add(exposure)
            return exposure

    def conceal(self, exposure: VerbsExposure) -> None:
        """What `VerbsExposure.revoke` does."""
        with self._lock:
            if exposure in self._exposures:
                self._exposures.remove(exposure)
                _close(exposure.made)

    # --- the child's side ---

    def read(self, source: RemoteRange, into: Memory, offset: int, on_read: OnRead) -> None:
        assert isinstance(into, VerbsMemory)
        if offset < 0 or offset + source.length > into.length:
            raise ValueError(f"{source.length} bytes at {offset} are not within {into.length}")
        operations = [
            _Read(
                source.part(done, min(OPERATION, source.length - done)),
                into.address + offset + done,
                into.lkey,
            )
            for done in range(0, source.length, OPERATION)
        ]
        with self._lock:
            failure = self._broken
            if failure is None:
                self._add(on_read, operations)
        if failure is not None:
            on_read(failure)

    # --- both ---

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _add(self, ticket: _Done, operations: list[_Read | _Bind] | list[_Read] | list[_Bind]) -> None:
        """With the lock."""
        self._queue.add(ticket, operations)
        self._post()

    def _post(self) -> None:
        """With the lock. All that has a place, as one linked list. pyverbs never frees a request's scatter list by
        itself, hence the close; the device has read it when the post returns."""
        verbs = library()
        requests: list[Any] = []
        for posting in reversed(self._queue.batch()):
            requests.append(self._request(posting, requests[-1] if requests else None))
        if not requests:
            return
        try:
            self._pair.post_send(requests[-1])
        except verbs.Error as error:
            self._break(QueuePairBroken(f"{self._device.name} takes no more work: {error}."))
        finally:
            for request in requests:
                request.close()

    def _request(self, posting: Posting[_Read | _Bind], following: Any) -> Any:
        verbs = library()
        enums = verbs.enums
        flags = enums.IBV_SEND_SIGNALED if posting.signaled else 0
        match posting.operation:
            case _Read(source, address, lkey):
                request = verbs.SendWR(
                    wr_id=posting.number,
                    opcode=enums.IBV_WR_RDMA_READ,
                    num_sge=1,
                    sg=[verbs.SGE(address, source.length, lkey)],
                    send_flags=flags,
                    next_wr=following,
                )
                request.set_wr_rdma(source.key, source.address)
            case _Bind(window, region, start, length):
                request = verbs.SendWR(
                    wr_id=posting.number,
                    opcode=enums.IBV_WR_BIND_MW,
                    num_sge=0,
                    send_flags=flags,
                    next_wr=following,
                )
                info = verbs.MWBindInfo(region, start, length, enums.IBV_ACCESS_REMOTE_READ)
                request.set_bind_wr(window, info)
        return request

    def _on_event(self) -> None:
        """From the device's thread: completions have come."""
        calls: list[tuple[_Done, RdmaError | None]] = []
        with self._lock:
            if not self._open:
                return
            self._channel.get_cq_event(self._completions)
            self._completions.ack_events(1)
            self._completions.req_notify()
            failure = self._drain(calls)
            if failure is None:
                self._post()
        for done, error in calls:
            done(error)
        if failure is not None:
            self.fail(failure)

    def _drain(self, calls: list[tuple[_Done, RdmaError | None]]) -> RdmaError | None:
        """With the lock. The first failure: all that follows it is flushed."""
        while True:
            count, completions = self._completions.poll(_POLL)
            for completion in completions[:count]:
                if completion.status:
                    return failure_of(completion.status, self._device.name)
                calls += [(ticket, None) for ticket in self._queue.completed(completion.wr_id)]
            if count < _POLL:
                return None

    def _break(self, failure: RdmaError) -> None:
        """With the lock, where callbacks must not come from: the device's thread finds it broken soon."""
        self._device.soon(lambda: self.fail(failure))

    def fail(self, failure: RdmaError) -> None:
        """End everything outstanding. The queue pair is destroyed first: only then the device touches no memory."""
        with self._lock:
            if self._broken is None:
                self._broken = failure
            if not self._open:
                return
            self._open = False
            self._device.events.unwatch(self._fd)
            for exposure in self._exposures:
                _close(exposure.made)
            self._exposures.clear()
            _close(self._destroy)
            tickets = self._queue.abandon()
        self._device.forget(self)
        for done in tickets:
            done(failure)

    def close(self) -> None:
        self.fail(QueuePairBroken("The queue pair was closed."))


class VerbsExposure:
    """`made`: closes what goes with the key."""

    def __init__(self, pair: VerbsQueuePair, remote: RemoteRange, made: contextlib.ExitStack) -> None:
        self._pair = pair
        self.made = made
        self.remote = remote

    def revoke(self) -> None:
        self._pair.conceal(self)


def _next_key(key: int) -> int:
    """The key a window has after its next binding: the lowest byte counts them (ibv_inc_rkey)."""
    return (key & ~0xFF) | ((key + 1) & 0xFF)


def _colons(gid: bytes) -> str:
    return ":".join(gid[at : at + 2].hex() for at in range(0, 16, 2))


def _close(made: contextlib.ExitStack) -> None:
    """Of a device that is gone nothing can be closed, nor need be."""
    with contextlib.suppress(library().Error):
        made.close()
