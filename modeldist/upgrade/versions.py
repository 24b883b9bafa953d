"""The directory where versions of this program lie side by side. Standard library only.

    0.2.0/           a tree of modules; whole once it has its name
    current          a link to the version that runs when nothing is on trial; without it, the launcher's own does,
                     and takes it away when it is newer
    trial.json       the version that is tried now, and what becomes of it
    outcome.json     what became of the last one
    spare            room for the two, should the disk be full by then

`current` moves when a version has proven itself, so that at any moment, also after a loss of power, the launcher finds
a version that did. One process changes this at a time: the launcher, or the one program that it runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, TypeVar

OWN = ""  # the version that the launcher is of
CRASHES = 3  # of a version on trial, after which it is given up
PLACE = "MODELDIST_VERSIONS"  # environment: where this program's versions are; it runs under a launcher then
RESTART = 75  # exit code: the launcher is to look which version it should run now
_SPARE = 16384  # bytes; each of the files is much less
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!]{0,100}")

Result = Literal["kept", "gone_back"]


@dataclass(frozen=True)
class Trial:
    """`version` is tried in place of `before`, by the rollout `id`. It has `within` seconds to come up, and
    is kept `keep_after` seconds later. `undo`: arguments with which it undoes what the one before cannot work with."""

    id: str
    version: str
    before: str
    within: float
    keep_after: float = 0.0
    undo: tuple[str, ...] = ()
    crashes: int = 0
    up: bool = False


@dataclass(frozen=True)
class Outcome:
    """`why`: of a version that was given up. `undo`: what is to be done, or was left to do, where it goes back."""

    id: str
    version: str
    before: str
    result: Result
    why: str = ""
    undo: tuple[str, ...] = ()


T = TypeVar("T", Trial, Outcome)


class Versions:
    def __init__(self, root: Path) -> None:
        self.root = root

    def tree(self, version: str) -> Path:
        return self.root / version

    def whole(self, version: str) -> bool:
        """Whether it is there."""
        return version == OWN or (bool(_VERSION.fullmatch(version)) and self.tree(version).is_dir())

    @property
    def current(self) -> str:
        """The version that has proven itself last. OWN where that is not there (any more)."""
        try:
            found = (self.root / "current").readlink().name
        except OSError:
            return OWN
        return found if self.whole(found) else OWN

    def trial(self) -> Trial | None:
        return self._read("trial.json", Trial)

    def outcome(self) -> Outcome | None:
        return self._read("outcome.json", Outcome)

    def choose(self) -> tuple[str, Trial | None]:
        """What to run, and the trial that this is."""
        trial = self.trial()
        if trial is None:
            outcome = self.outcome()
            if outcome is not None and outcome.result == "gone_back" and self.current == outcome.version:
                # The machine stopped between two steps of `go_back`.
                with suppress(OSError):  # what ran before runs, also where that cannot be written down
                    self._link(outcome.before)
                return (outcome.before if self.whole(outcome.before) else OWN), None
            return self.current, None
        if trial.version == self.current:  # the machine stopped between two steps of `keep`
            with suppress(OSError):  # it is kept, also where that cannot be written down
                self._over(trial, "kept", undo=trial.undo)
            return trial.version, None
        if not self.whole(trial.version):
            self.give_up("its files are not there")
            return self.current, None
        return trial.version, trial

    def begin(self, trial: Trial) -> None:
        """From the next start of the program on."""
        self._write_bytes("spare", bytes(_SPARE))
        self._write("trial.json", asdict(trial))

    def came_up(self) -> None:
        if (trial := self.trial()) is not None and not trial.up:
            self._write("trial.json", asdict(replace(trial, up=True)))

    def crashed(self, how: str) -> None:
        """The version on trial ended by itself; too often, and it is given up."""
        if (trial := self.trial()) is None:
            return
        if trial.crashes + 1 >= CRASHES:
            self.give_up(f"{how}, {trial.crashes + 1} times")
            return
        try:
            self._write("trial.json", asdict(replace(trial, crashes=trial.crashes + 1, up=False)))
        except OSError as error:  # what cannot be counted would be tried for ever
            self.give_up(f"{how}, and {self.root} cannot be written: {error.strerror}")

    def keep(self) -> None:
        """The version on trial has proven itself."""
        if (trial := self.trial()) is None:
            return
        self._link(trial.version)
        self._over(trial, "kept", undo=trial.undo)

    def give_up(self, why: str) -> None:
        """What ran before runs again from the next start on, also where that cannot be written down."""
        if (trial := self.trial()) is None:
            return
        try:
            self._over(trial, "gone_back", why, trial.undo)
        except OSError:
            (self.root / "trial.json").unlink(missing_ok=True)
            _sync(self.root)

    def go_back(self, id_: str, why: str) -> bool:
        """To what ran before the rollout `id_`, on trial or not: that is the only way to an older version. False where
        it is not known, or not there any more."""
        if (trial := self.trial()) is not None and trial.id == id_:
            self.give_up(why)
            return True
        outcome = self.outcome()
        if trial is not None or outcome is None or (outcome.id, outcome.result) != (id_, "kept"):
            return False
        if not self.whole(outcome.before):
            return False
        self._write("outcome.json", asdict(replace(outcome, result="gone_back", why=why)))
        self._link(outcome.before)
        return True

    def prefer_own(self) -> None:
        """The launcher's own version runs again, in the place of what a rollout brought; also when that rollout goes
        back, which undoes nothing then. Nothing must be on trial."""
        outcome = self.outcome()
        if outcome is not None and outcome.result == "kept":
            self._write("outcome.json", asdict(replace(outcome, before=OWN, undo=())))
        self._link(OWN)

    def undone(self) -> None:
        if (outcome := self.outcome()) is not None and outcome.undo:
            self._write("outcome.json", asdict(replace(outcome, undo=())))

    def remove_others(self) -> None:
        """All trees but those that may still be run, and what was left of installations that did not end."""
        outcome, trial = self.outcome(), self.trial()
        stay = {self.current}
        stay |= {outcome.version, outcome.before} if outcome else set()
        stay |= {trial.version, trial.before} if trial else set()
        for path in self.root.iterdir():
            stale = path.name.startswith(".installing-") or (_VERSION.fullmatch(path.name) and path.name not in stay)
            if stale and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)

    def _link(self, version: str) -> None:
        link = self.root / "current"
        if version == OWN:
            link.unlink(missing_ok=True)
        else:
            fresh = self.root / ".current"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(version)
            fresh.rename(link)
        _sync(self.root)

    def _over(self, trial: Trial, result: Result, why: str = "", undo: tuple[str, ...] = ()) -> None:
        self._write("outcome.json", asdict(Outcome(trial.id, trial.version, trial.before, result, why, undo)))
        (self.root / "trial.json").unlink(missing_ok=True)
        (self.root / "spare").unlink(missing_ok=True)
        _sync(self.root)

    def _read(self, name: str, kind: type[T]) -> T | None:
        """None where it is not there, or cannot be read. What a later version has beside is left out."""
        try:
            said = json.loads((self.root / name).read_bytes())
            known = {field.name: said[field.name] for field in fields(kind) if field.name in said}
            return kind(**{**known, "undo": tuple(said.get("undo", ()))})
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def _write(self, name: str, said: dict[str, object]) -> None:
        content = json.dumps(said).encode()
        try:
            self._write_bytes(name, content)
        except OSError:
            if not (self.root / "spare").exists():
                raise
            (self.root / "spare").unlink()
            self._write_bytes(name, content)

    def _write_bytes(self, name: str, content: bytes) -> None:
        fresh = self.root / f".{name}"
        with suppress(FileNotFoundError):
            fresh.unlink()
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self.root / name)
        _sync(self.root)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
