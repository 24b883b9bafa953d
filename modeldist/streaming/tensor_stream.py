"""The tensors of a model, one after the other, while it arrives."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from modeldist.agent.this_node import Node
from modeldist.arriving.file import ArrivingFile
from modeldist.arriving.model import ArrivingModel
from modeldist.arriving.opening import open_model
from modeldist.errors import UsageError
from modeldist.streaming.beside import Beside
from modeldist.streaming.framework import Framework, framework
from modeldist.streaming.weights import Place, Weights
from modelpack.safetensors_header import FIRST_READ

_LOOKED_AT = 64  # tensors of a file that are looked at for being complete; pieces come about in order


def stream(
    reference: str,
    *,
    rank: str | None = None,
    device: Any = None,
    framework: str | None = None,
    order: Sequence[str] | None = None,
    files: str | None = None,
    here: Node | None = None,
    offline: bool = False,
) -> TensorStream:
    """The tensors of a model's safetensors files as `(name, tensor)`, each as soon as all of its bytes are here.

    `rank`: what one rank of a parallel deployment loads, as `pull --rank` has it ("tp=0/4,pp=1/2"); the same as
    `#rank=…` in the reference. Of tensors that ranks share, its rows come (`TensorStream.rows`), where the model has a
    chunk table; else they come whole. `device`: torch's; tensors are copied there beside the reading of the next ones.
    `framework`: "pt" or "np"; torch where it is installed. `order`: names of tensors, of which those come, in that
    order; by default all come as they are complete, about in file order. `files`: a glob of the paths of files; by
    default those in no directory. `here`, `offline`: as for `open_model`.

    Every tensor has memory of its own. Bytes are verified piece by piece, and the last tensor comes only when every
    shard is proven by its digest (or was by a chunk table): an iteration that has ended has given nothing wrong.
    When it ends, the snapshot is complete too (`wait_complete`).

    Raises what `open_model` does; Unsupported where there are no such files; UsageError of a framework or order.
    The iteration raises what the pull fails of, and IntegrityError where pieces, or a shard, prove wrong.
    """
    made = _framework(framework, device)
    if rank is not None:
        reference = _ranked(reference, rank)
    model = open_model(reference, here=here, offline=offline)
    try:
        return TensorStream(model, Weights(model, files), made, order)
    except BaseException:
        model.close()
        raise


_framework = framework


def _ranked(reference: str, rank: str) -> str:
    from modeldist.origins import selected
    from modelpack.errors import InvalidSelection
    from modelpack.plan.selection import Selection

    try:
        return selected.join(reference, str(Selection.of(rank=rank)))
    except InvalidSelection as error:
        raise UsageError(error.message, remedy=error.remedy) from error


class TensorStream:
    """Iterate once. Closed by a `with` block, or else by the end of the iteration. One thread. `by_name`: file by
    file, in each in the order of names."""

    def __init__(
        self,
        model: ArrivingModel,
        weights: Weights,
        made: Framework,
        order: Sequence[str] | None = None,
        *,
        by_name: bool = False,
    ) -> None:
        self.model = model
        self.rows: dict[str, tuple[tuple[int, int], ...]] = {}
        """Of tensors that came in part, so far: which rows, one below the other."""
        self._weights = weights
        self._made = made
        self._order = order
        self._by_name = by_name
        self._within = False
        self._beside: Beside[tuple[Place, Any]] | None = None

    @property
    def reference(self) -> str:
        """Pinned."""
        return self.model.reference

    def wait_complete(self) -> Path:
        """The snapshot's directory, with the files that are no tensors. Raises as `ArrivingModel.wait_complete`."""
        return self.model.wait_complete()

    def close(self) -> None:
        """Stop what nobody else waits for. Tensors that were given stay."""
        if self.model.forked:
            return
        if self._beside is not None:
            self._beside.stop()
        self.model.close()  # and with it ends what the thread may wait for
        if self._beside is not None:
            self._beside.join()
        self._made.close()

    def __enter__(self) -> Self:
        self._within = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        try:
            if self._made.in_its_thread:
                for place, tensor in self._loaded():
                    yield self._given(place), tensor
            else:
                self._beside = Beside(self._loaded(), lambda item: item[0].size, f"tensors of {self.reference}")
                for place, tensor in self._beside.taken():
                    yield self._given(place), tensor
            self.model.wait_complete()
        finally:
            if self._beside is not None and not self.model.forked:
                self._beside.stop()
            if not self._within:
                self.close()

    def _given(self, place: Place) -> str:
        if place.rows:
            self.rows[place.name] = place.rows
        return place.name

    def _loaded(self) -> Iterator[tuple[Place, Any]]:
        for place, last in self._places():
            tensor = self._made.load(place.file, place.ranges, place.dtype, place.shape)
            if last:
                self._prove()
            yield place, tensor
        self._prove()

    def _places(self) -> Iterator[tuple[Place, bool]]:
        """Those that are here, each, and whether it is the last."""
        if self._by_name:
            return self._by_names()
        return self._as_they_come() if self._order is None else self._in_order(self._order)

    def _prove(self) -> None:
        for file in self._weights.files:
            file.wait_proven()
        self._made.close()

    def _in_order(self, order: Sequence[str]) -> Iterator[tuple[Place, bool]]:
        self._weights.want_headers()
        places = self._weights.all()
        if unknown := [name for name in order if name not in places]:
            raise UsageError(
                f"{self.reference} has no tensor {unknown[0][:120]!r} (nor {len(unknown) - 1} others of the order).",
                remedy="Name those that it has; safe_open(…).keys() lists them.",
            )
        chosen = [places[name] for name in dict.fromkeys(order)]
        self.model.want((place.file, start, stop) for place in chosen for start, stop in place.ranges)
        for number, place in enumerate(chosen, 1):
            for start, stop in place.ranges:
                place.file.wait(start, stop)
            yield place, number == len(chosen)

    def _by_names(self) -> Iterator[tuple[Place, bool]]:
        """One file after the other, in each by name: the order of those who load complete files by safetensors."""
        files = sorted(self._weights.files, key=lambda file: _counted(file.path))
        for number, file in enumerate(files, 1):
            later = [(other, start, stop) for other in files[number:] for start, stop in _coming(other)]
            head = (file, 0, min(file.size, 8 + FIRST_READ))
            self.model.want([head, *((file, start, stop) for start, stop in _coming(file)), *later])
            places = sorted(self._weights.places(file), key=lambda place: place.name)
            self.model.want([*((file, start, stop) for place in places for start, stop in place.ranges), *later])
            for at, place in enumerate(places, 1):
                for start, stop in place.ranges:
                    file.wait(start, stop)
                yield place, number == len(files) and at == len(places)

    def _as_they_come(self) -> Iterator[tuple[Place, bool]]:
        self.model.want((file, start, stop) for file in self._weights.files for start, stop in _coming(file))
        waiting: dict[ArrivingFile, deque[Place] | None] = dict.fromkeys(self._weights.files)
        seen = -1
        while waiting:
            seen = self.model.wait_news(seen)
            while (place := self._next(waiting)) is not None:
                yield place, not waiting

    def _next(self, waiting: dict[ArrivingFile, deque[Place] | None]) -> Place | None:
        """One that is complete, taken off; files of which none is left are too."""
        for file, known in list(waiting.items()):
            if known is None and file.ready() < min(file.size, 8 + FIRST_READ):
                continue
            places = waiting[file] = deque(self._weights.places(file)) if known is None else known
            if not places:
                del waiting[file]
                continue
            for number, place in enumerate(islice(places, _LOOKED_AT)):
                if all(file.ready(start) >= stop for start, stop in place.ranges):
                    del places[number]
                    if not places:
                        del waiting[file]
                    return place
        return None


def _coming(file: ArrivingFile) -> tuple[tuple[int, int], ...]:
    return file.ranges or ((0, file.size),)


def _counted(path: str) -> list[tuple[int, str]]:
    """So that 2 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path, flags=re.ASCII)]
