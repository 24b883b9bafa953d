"""One mount, from the moment it is known what the model is until it is unmounted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Generic

import pyfuse3
import trio

from modeldist.errors import ModeldistError, MountFailed
from modeldist.logger import Logger
from modeldist.mount import access_order, last_answers
from modeldist.mount.access_order import AccessOrder, Range
from modeldist.mount.asking import Asking
from modeldist.mount.direct import Direct
from modeldist.mount.loading_order import loading_order
from modeldist.mount.mount_table import SUBTYPE, mounted_at
from modeldist.mount.place import Place
from modeldist.mount.prefetch import Prefetch
from modeldist.mount.readable import F, ReadableModel
from modeldist.mount.serving import Owner, Serving
from modeldist.mount.tree import tree_of

log = Logger(__name__)

MOST_REQUESTS = 100_000  # that may wait at once; each is a small object
READ_AHEAD = 4096  # KiB by which the kernel reads ahead of a sequential reader; its default, 128, costs half the rate
_STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Session(Generic[F]):
    """`direct`: show the store's files themselves once all are here."""

    def __init__(
        self,
        model: ReadableModel[F],
        directory: Path,
        place: Place,
        tell: Callable[[str], None],
        owner: tuple[int, int],
        *,
        allow_other: bool,
        direct: bool,
        only_proven: bool,
    ) -> None:
        self._model = model
        self._directory = directory
        self._place = place
        self._tell = tell
        self._allow_other = allow_other
        self._signalled = False
        sizes = {path: file.size for path, file in model.files.items()}
        self._tree = tree_of((path, size, False) for path, size in sizes.items())
        self._order = AccessOrder(sizes)
        self._before = self._recorded(sizes)
        covered = {*self._before}
        rest = (planned for planned in loading_order(sizes) if planned not in covered)
        self._asking = Asking(model, Prefetch((*self._before, *rest), sizes))
        self._serving = Serving(
            self._tree,
            model.files,
            self._asking,
            self._order,
            Owner(*owner, since=time.time_ns()),
            tell,
            only_proven=only_proven,
        )
        partly = any(file.ranges for file in model.files.values())
        self._direct = Direct(directory, place) if direct and not partly else None

    def run(self, ready: Callable[[], None]) -> None:
        """Returns when it is unmounted, by whomever. Calls `ready` when the snapshot is there. Raises MountFailed."""
        options = {"ro", "default_permissions", f"fsname={_option(self._model.reference)}", f"subtype={SUBTYPE}"}
        if self._allow_other:
            options.add("allow_other")
        try:
            pyfuse3.init(self._serving, str(self._directory), options)
        except RuntimeError as error:
            raise MountFailed(
                f"{self._directory} cannot be mounted ({error}; libfuse says why above).",
                remedy="Choose a directory that is yours.",
            ) from None
        # From here on a signal, also a second one, must not end this process before it has unmounted.
        before = {number: signal.signal(number, self._note_signal) for number in _STOPPED_BY}
        watched: int | None = None
        try:
            watched = last_answers.start(self._directory)
            if watched is None:
                log.warning("should this mount be killed, the kernel chooses what its readers are told")
            trio.run(self._serve, ready)
        finally:
            self._keep_order()
            if self._direct is not None:
                self._direct.hide()
            pyfuse3.close(unmount=True)
            if watched is not None:
                os.close(watched)
            for number, handler in before.items():
                signal.signal(number, handler)

    async def _serve(self, ready: Callable[[], None]) -> None:
        async with trio.open_nursery() as nursery:
            stop = nursery.cancel_scope.cancel  # not pyfuse3.terminate, which waits for reads of what is missing
            nursery.start_soon(self._stop_by_signal, stop)
            nursery.start_soon(self._asking.run)
            if not self._before:
                nursery.start_soon(self._asking.look_at_headers)
            nursery.start_soon(self._completion, stop)
            self._read_further_ahead()
            ready()
            await pyfuse3.main(max_tasks=MOST_REQUESTS)
            stop()

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True

    async def _stop_by_signal(self, stop: Callable[[], None]) -> None:
        with trio.open_signal_receiver(*_STOPPED_BY) as received:
            if self._signalled:
                stop()
            async for _ in received:
                stop()

    async def _completion(self, stop: Callable[[], None]) -> None:
        try:
            await trio.to_thread.run_sync(self._model.wait_complete, abandon_on_cancel=True)
        except ModeldistError as error:
            log.warning("a mount will not be complete", reference=self._model.reference, error=str(error))
            return
        self._serving.complete = True
        await trio.to_thread.run_sync(self._keep_order)
        if self._direct is not None and await trio.to_thread.run_sync(self._show, self._direct):
            await trio.to_thread.run_sync(self._direct.wait_gone, abandon_on_cancel=True)
            stop()

    def _show(self, direct: Direct) -> bool:
        try:
            direct.show(self._tree, self._model.files)
        except (OSError, ModeldistError) as error:
            log.info("no direct mount", error=str(error))
            return False
        return True

    def _read_further_ahead(self) -> None:
        """As far as this user may."""
        for mounted in mounted_at(self._directory)[-1:]:
            with suppress(OSError):
                Path(f"/sys/class/bdi/{mounted.device}/read_ahead_kb").write_text(str(READ_AHEAD))

    # --- in which order it is read ---

    def _recorded(self, sizes: dict[str, int]) -> tuple[Range, ...]:
        data = self._place.recorded(self._model.digest)
        if data is None:
            return ()
        try:
            return access_order.decode(data, self._model.digest, sizes)
        except ValueError as error:
            log.warning("an access order cannot be used", digest=self._model.digest, error=str(error))
            return ()

    def _keep_order(self) -> None:
        if not self._order:
            return
        order = self._order.followed_by(self._before)
        try:
            self._place.record(self._model.digest, access_order.encode(self._model.digest, order))
        except ModeldistError as error:
            log.warning("the access order is not kept", error=str(error))


def _option(text: str) -> str:
    """`text` as libfuse's options take it."""
    printable = text.encode("ascii", "replace").decode()
    return printable.replace("\\", "\\\\").replace(",", "\\,")
