"""One port of one device, opened, with a thread of its own for what happens on it."""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rdma.errors import DeviceGone, NoVerbs, RdmaError, RegistrationRefused
from rdma.rails import Rail
from rdma.verbs.descriptors import with_event_descriptor
from rdma.verbs.event_thread import EventThread
from rdma.verbs.library import error_number, library
from rdma.verbs.memory import VerbsMemory, address_of, anonymous
from rdma.verbs.queue_pair import VerbsQueuePair

VERBS_SYSFS = Path("/sys/class/infiniband_verbs")
_LOOK_EVERY = 0.5  # seconds between looks whether the device is there: a removal may come without an event
_SOFT_ROCE = 0xFFFFFF  # its vendor id (the kernel's rxe_param.h); seen with Linux 6.1
_MEMLOCK = "Raise the limit of locked memory (`ulimit -l unlimited`, LimitMEMLOCK=infinity in a systemd unit)."

log = logging.getLogger(__name__)


class VerbsDevice:
    """Open the rail's device. Raises NoVerbs, DeviceGone. With `windows` False none are used.

    `windows`: it has memory windows of the second kind, whose keys belong to one queue pair. `windows_are_wide`: it
    checks a window's key and not its range, so that a window must be all of a registration. `reads_asked`,
    `reads_answered`: read operations in flight that it can ask for and answer, a queue pair."""

    def __init__(self, rail: Rail, *, windows: bool = True) -> None:
        verbs = library()
        self.name = rail.device
        self.port = rail.port
        self.gid_index = rail.gid.index
        self.gid = rail.gid.address.packed
        self._lock = threading.Lock()
        self._making = threading.Lock()  # what is made of the device, while it is open
        self._gone: RdmaError | None = None
        self._when_gone: list[Callable[[RdmaError], None]] = []
        self._pairs: set[VerbsQueuePair] = set()
        self._memory: set[VerbsMemory] = set()
        self._soon: deque[Callable[[], None]] = deque()
        self._closed = False
        with contextlib.ExitStack() as made:
            try:
                self.context, self._async_fd = with_event_descriptor(lambda: verbs.Context(name=rail.device))
                made.callback(self.context.close)
                self.domain = verbs.PD(self.context)
                made.callback(self.domain.close)
                limits = self.context.query_device()
                port = self.context.query_port(rail.port)
            except verbs.Error as error:
                raise _not_opened(rail.device, error) from error
            self._destroy = made.pop_all()
        self._node = _verbs_node(rail.device)
        self.lid: int = port.lid if port.link_layer == verbs.enums.IBV_LINK_LAYER_INFINIBAND else 0
        self.mtu: int = 128 << port.active_mtu
        self.reads_answered: int = min(limits.max_qp_rd_atom, 255)
        self.reads_asked: int = min(limits.max_qp_init_rd_atom, 255)
        self.windows = windows and bool(limits.device_cap_flags & verbs.enums.IBV_DEVICE_MEM_WINDOW_TYPE_2B)
        self.windows_are_wide = limits.vendor_id == _SOFT_ROCE
        self.events = EventThread(f"rdma {rail.device}", tick=_LOOK_EVERY, on_tick=self._look)
        self.events.watch(self._async_fd, self._on_async_event)
        self.events.start()

    @property
    def gone(self) -> RdmaError | None:
        return self._gone

    def when_gone(self, callback: Callable[[RdmaError], None]) -> None:
        with self._lock:
            gone = self._gone
            if gone is None:
                self._when_gone.append(callback)
        if gone is not None:
            callback(gone)

    # --- memory ---

    def allocate(self, length: int) -> VerbsMemory:
        try:
            pages = anonymous(length)
        except (OSError, OverflowError) as error:
            raise RegistrationRefused(
                f"The system gives no {length} bytes to register for {self.name}: {error}."
            ) from error
        return self.register(memoryview(pages))

    def register(self, buffer: memoryview, *, readable_only: bool = False) -> VerbsMemory:
        view = buffer.cast("B")
        address = address_of(view)
        flags = library().enums
        access = (0 if readable_only else flags.IBV_ACCESS_LOCAL_WRITE) | (
            flags.IBV_ACCESS_MW_BIND if self.windows else 0
        )
        return self._registered(
            view.nbytes,
            lambda: library().MR(self.domain, view.nbytes, access, address=address),
            address,
            view,
        )

    def register_dmabuf(self, fd: int, offset: int, length: int) -> VerbsMemory:
        access = library().enums.IBV_ACCESS_LOCAL_WRITE
        return self._registered(
            length, lambda: library().DmaBufMR(self.domain, length, access, dmabuf=fd, offset=offset), offset, None
        )

    def _registered(self, length: int, make: Callable[[], Any], address: int, view: memoryview | None) -> VerbsMemory:
        with self._making:
            self._check()
            try:
                region = make()
            except library().Error as error:
                remedy = _MEMLOCK if error_number(error) in (errno.ENOMEM, errno.EPERM) else ""
                raise RegistrationRefused(
                    f"{self.name} would not register {length} bytes: {error}.", remedy=remedy
                ) from error
            memory = VerbsMemory(region, address, length, view, on_close=self._memory.discard)
            self._memory.add(memory)
            return memory

    # --- queue pairs ---

    def queue_pair(self) -> VerbsQueuePair:
        with self._making:
            self._check()
            pair = VerbsQueuePair(self)
        with self._lock:
            self._pairs.add(pair)
            gone = self._gone
        if gone is not None:
            pair.fail(gone)
            raise gone
        return pair

    def forget(self, pair: VerbsQueuePair) -> None:
        """It has ended."""
        with self._lock:
            self._pairs.discard(pair)

    def soon(self, call: Callable[[], None]) -> None:
        """Call from the device's thread, where no lock is held."""
        self._soon.append(call)
        self.events.wake()

    # --- what happens to the device ---

    def _check(self) -> None:
        if self._gone is not None:
            raise self._gone

    def _on_async_event(self) -> None:
        enums = library().enums
        event = self.context.get_async_event()
        kind, text = event.event_type, str(event).partition(":")[2].strip()
        event.ack()
        log.info("%s: %s", self.name, text)
        if kind in (enums.IBV_EVENT_DEVICE_FATAL, enums.IBV_EVENT_PORT_ERR):
            self._lose(DeviceGone(f"{self.name} is of no use now ({text})."))

    def _look(self) -> None:
        """Drivers that cannot let go of a device in use wait, without a word, until everybody has closed it."""
        while self._soon:
            self._soon.popleft()()
        if self._node is not None and not self._node.exists():
            self._lose(DeviceGone(f"{self.name} was removed."))

    def _lose(self, failure: RdmaError) -> None:
        with self._lock:
            if self._gone is not None:
                return
            self._gone = failure
            pairs, self._pairs = self._pairs, set()
            callbacks, self._when_gone = self._when_gone, []
        for pair in pairs:
            pair.fail(failure)
        for callback in callbacks:
            callback(failure)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._lose(DeviceGone(f"{self.name} was closed."))
        self.events.stop()
        with self._making:
            for memory in list(self._memory):
                with contextlib.suppress(library().Error):
                    memory.close()
            with contextlib.suppress(library().Error):
                self._destroy.close()


def _verbs_node(device: str) -> Path | None:
    """The device's entry that goes away as soon as somebody removes it; None where sysfs does not show it."""
    for node in VERBS_SYSFS.glob("uverbs*"):
        with contextlib.suppress(OSError):
            if (node / "ibdev").read_text().strip() == device:
                return node
    return None


def _not_opened(device: str, error: Exception) -> RdmaError:
    if error_number(error) in (errno.ENOSYS, errno.ENOENT):
        return NoVerbs(f"This kernel has no RDMA: {error}.")
    return DeviceGone(f"{device} cannot be opened: {error}.")
