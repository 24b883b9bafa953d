"""Tensors of an arriving model by their names: what `safetensors.safe_open` has, for a model that is on its way."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from safetensors import SafetensorError

from modeldist.agent.this_node import Node
from modeldist.arriving.opening import open_model
from modeldist.errors import Unsupported
from modeldist.streaming.framework import framework as made_in
from modeldist.streaming.weights import Place, Weights
from modelpack.safetensors_header import DTYPE_BITS


class safe_open:
    """`safe_open("org/model:tag", framework="pt", device="cuda")`, with the methods of safetensors' class of this name.

    `reference`: a model, or the part of it that a fragment selects; all its safetensors files are one, as for
    `modeldist.stream`, or those that `files`, a glob of their paths, names. A tensor that is asked for is fetched
    before others, and what follows it after it.

    Bytes are verified piece by piece when they are given. Leaving the `with` block without an error means that every
    file of which some were given has proven right as a whole; it waits for that, and raises IntegrityError else.
    """

    def __init__(
        self,
        reference: str,
        framework: str | None = None,
        device: Any = None,
        *,
        files: str | None = None,
        here: Node | None = None,
        offline: bool = False,
    ) -> None:
        """Raises as `modeldist.stream` does."""
        self._made = made_in(framework, device)
        self.model = open_model(reference, here=here, offline=offline)
        self._given: dict[str, Place] = {}
        self._known: dict[str, Place] | None = None
        try:
            self._weights = Weights(self.model, files)
            self._weights.want_headers()
        except BaseException:
            self.model.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._made.close()
            if error is None:
                for place in self._given.values():
                    place.file.wait_proven()
        finally:
            self.model.close()

    def keys(self) -> list[str]:
        """Names of all tensors, sorted. Waits for the headers of all files, as everything that follows does."""
        return sorted(self._places)

    def offset_keys(self) -> list[str]:
        """Names of all tensors, in the order of files and in each as they lie there."""
        return list(self._places)

    def metadata(self) -> dict[str, str] | None:
        """Of the files; None where they have none."""
        return self._weights.metadata() or None

    def get_tensor(self, name: str) -> Any:
        """A tensor of its own memory, once it is here. Raises SafetensorError where there is none of this name."""
        place = self._place(name)
        return self._load(place, place.ranges, place.shape)

    def get_tensors(self) -> dict[str, Any]:
        """All of them."""
        return {name: self.get_tensor(name) for name in self.offset_keys()}

    def get_slice(self, name: str) -> Slice:
        """To be indexed; what that takes is fetched, and no more of the tensor is waited for."""
        return Slice(self, self._place(name))

    @property
    def _places(self) -> dict[str, Place]:
        if self._known is None:
            self._known = self._weights.all()
        return self._known

    def _place(self, name: str) -> Place:
        try:
            return self._places[name]
        except KeyError:
            raise SafetensorError(f"File does not contain tensor {name}") from None

    def _load(self, place: Place, ranges: tuple[tuple[int, int], ...], shape: tuple[int, ...]) -> Any:
        if any(place.file.ready(start) < stop for start, stop in ranges):
            self.model.want((*((place.file, start, stop) for start, stop in ranges), *self._what_follows(place)))
            for start, stop in ranges:
                place.file.wait(start, stop)
        self._given[place.file.path] = place
        return self._made.load(place.file, ranges, place.dtype, shape)

    def _what_follows(self, place: Place) -> Iterator[tuple[Any, int, int]]:
        """Loaders go on as tensors lie in the file."""
        yield place.file, place.ranges[-1][1], place.file.size
        files = self._weights.files
        for file in files[files.index(place.file) + 1 :]:
            yield file, 0, file.size


class Slice:
    """A tensor to be indexed by what safetensors takes: integers, slices, an ellipsis. Of the first dimension only what
    is asked for is read."""

    def __init__(self, opened: safe_open, place: Place) -> None:
        self._opened = opened
        self._place = place

    def get_shape(self) -> list[int]:
        return list(self._place.shape)

    def get_dtype(self) -> str:
        """As safetensors names it."""
        return self._place.dtype

    def __getitem__(self, index: Any) -> Any:
        place = self._place
        parts = index if isinstance(index, tuple) else (index,)
        first = parts[0] if parts else Ellipsis
        if DTYPE_BITS[place.dtype] % 8 and not all(part is Ellipsis or part == slice(None) for part in parts):
            raise Unsupported(
                f"{place.name} is of {place.dtype}, whose elements are less than a byte: there are no slices of it.",
                remedy="Take all of it: get_tensor.",
            )
        if DTYPE_BITS[place.dtype] % 8:  # bytes, not elements
            return self._opened._load(place, place.ranges, place.shape)
        if not place.shape or not place.size or isinstance(first, bool) or not isinstance(first, int | slice):
            return self._opened._load(place, place.ranges, place.shape)[index]
        count = place.shape[0]
        if isinstance(first, int):
            if not -count <= first < count:
                raise SafetensorError(f"index {first} is out of bounds for {place.name}, which has {count} rows")
            start, stop, within = first % count, first % count + 1, 0
        else:
            picked = range(count)[first]
            if not picked:
                start, stop, within = 0, 0, slice(0, 0)  # type: ignore[assignment]
            else:
                start, stop = min(picked), max(picked) + 1
                step = first.step or 1
                within = slice(None, None, step) if step > 0 else slice(picked[0] - start, None, step)  # type: ignore[assignment]
        rows = self._opened._load(place, _rows(place, start, stop), (stop - start, *place.shape[1:]))
        return rows[(within, *parts[1:])]


def _rows(place: Place, start: int, stop: int) -> tuple[tuple[int, int], ...]:
    """Where rows `start` to `stop` of what comes of a tensor are in the file."""
    row = place.size // place.shape[0]
    found: list[tuple[int, int]] = []
    at = 0  # rows before this range
    for first, last in place.ranges:
        here = (last - first) // row
        low, high = max(start - at, 0), min(stop - at, here)
        if low < high:
            found.append((first + low * row, first + high * row))
        at += here
    return tuple(found)
