"""`modeldist mount`, from its options to its end."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.mount import mountpoint, requirements
from modeldist.mount.mount_table import mounted_at
from modeldist.mount.place import Place, directory_of
from modeldist.mount.readable import F, ReadableModel
from modeldist.mount.stored import stored_model
from modeldist.mount.syscalls import may_mount

if TYPE_CHECKING:
    from modeldist.agent.this_node import Node
    from modeldist.arriving import ArrivingModel


@dataclass(frozen=True)
class Mounting:
    """What to mount where. `allow_other`: every user may read it (None: if this one may mount anyway)."""

    reference: str
    directory: Path
    here: Node
    allow_other: bool | None = None
    direct: bool = True
    only_proven: bool = False
    offline: bool = False


@dataclass(frozen=True)
class Mounted:
    """What is mounted where, when it can be read. `reference` is pinned."""

    directory: str
    reference: str
    digest: str


def mount_here(mounting: Mounting, ready: Callable[[Mounted], None], tell: Callable[[str], None]) -> None:
    """Returns when it is unmounted. `tell` is given what a person must know. Raises MountFailed, and what opening the
    model does."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a descriptor for each file of the model
    privileged = may_mount()
    allow_other = privileged if mounting.allow_other is None else mounting.allow_other
    requirements.check(allow_other=allow_other)
    directory = directory_of(mounting.directory)
    place = Place(mounting.here.store, directory)
    held = place.take()
    if held is None:
        source = next((found.source for found in mounted_at(directory)), "another model")
        raise mountpoint.served(directory, source)
    with held:
        if mountpoint.prepare(directory, place):
            tell(f"{directory} was left by a mount that was killed; it is mounted anew.")
        from modeldist.arriving import open_model
        from modeldist.mount.lasting import LastingModel

        # The files' own modes say who may read a direct mount.
        how = _How(directory, place, ready, tell, allow_other, mounting.direct and privileged and allow_other)

        def opened(reference: str) -> ArrivingModel:
            return open_model(reference, here=mounting.here, offline=mounting.offline)

        model = opened(mounting.reference)
        if not model.packed:
            with LastingModel(model, opened, tell) as lasting:
                _serve(lasting, how, only_proven=mounting.only_proven)
            return
        with model:
            tell(
                f"{mounting.reference} has archives ({', '.join(model.packed)}): it is mounted when all of it is here."
            )
            snapshot = model.wait_complete()
        with stored_model(model.reference, model.digest, snapshot) as stored:
            _serve(stored, how, only_proven=False)


@dataclass(frozen=True)
class _How:
    directory: Path
    place: Place
    ready: Callable[[Mounted], None]
    tell: Callable[[str], None]
    allow_other: bool
    direct: bool


def _serve(model: ReadableModel[F], how: _How, *, only_proven: bool) -> None:
    from modeldist.mount.session import Session

    session = Session(
        model,
        how.directory,
        how.place,
        how.tell,
        (os.getuid(), os.getgid()),
        allow_other=how.allow_other,
        direct=how.direct,
        only_proven=only_proven,
    )
    session.run(lambda: how.ready(Mounted(str(how.directory), model.reference, model.digest)))
