"""`modeldist mount`, from its options to its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.mount import mountpoint, requirements
from modeldist.mount.mount_table import mounted_at
from modeldist.mount.place import Place, directory_of
from modeldist.mount.syscalls import may_mount

if TYPE_CHECKING:
    from modeldist.agent.this_node import Node


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
        from modeldist.mount.session import Session

        with open_model(mounting.reference, here=mounting.here, offline=mounting.offline) as model:
            Session(
                model,
                directory,
                place,
                tell,
                (os.getuid(), os.getgid()),
                allow_other=allow_other,
                # The files' own modes say who may read them then.
                direct=mounting.direct and privileged and allow_other,
                only_proven=mounting.only_proven,
            ).run(lambda: ready(Mounted(str(directory), model.reference, model.digest)))
