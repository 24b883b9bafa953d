"""A release into a tree of its own, beside the others. No network: pip installs the wheels that were signed, by their
hashes, and what they need besides has to be in the environment of the launcher."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import Distribution, distributions
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name

from modeldist.errors import AgentError, StorageError, Unsupported
from modeldist.upgrade.release import DISTRIBUTION, LIST, Release
from modeldist.upgrade.versions import Versions

_INSTALLED_WITHIN = 600.0  # seconds
_ANSWERS_WITHIN = 60.0
_SAID = 600  # characters of what pip said
_OF_THE_SYSTEM = re.compile(r"\[Errno (\d+)\]")  # as Python writes an OSError


def install(release: Release, folder: Path, versions: Versions) -> None:
    """The wheels in `folder`, which `release.read` has proven. Harmless where the version is there already. Raises
    StorageError, Unsupported, AgentError."""
    target = versions.tree(release.version)
    try:
        versions.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(versions.root):
            if _same(target, folder):
                return
            versions.remove_others()
            staged = Path(mkdtemp(prefix=".installing-", dir=versions.root))
            try:
                _pip(release, folder, staged)
                _check_needs(staged, versions.root)
                _check_runs(staged, release.version)
                (staged / LIST).write_bytes((folder / LIST).read_bytes())
                os.sync()  # all of a thousand files, before the name that says that they are there
                if target.exists():
                    target.rename(versions.root / f".installing-{os.urandom(8).hex()}")
                staged.rename(target)
            finally:
                rmtree(staged, ignore_errors=True)
            os.sync()
    except OSError as error:
        raise StorageError(
            f"The release {release.version} cannot be installed into {versions.root}: {error.strerror or error}.",
            remedy="Free some space there and in TMPDIR, or correct the directory's owner.",
        ) from error


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _same(target: Path, folder: Path) -> bool:
    """Whether the version is there, from the same signed list."""
    try:
        return (target / LIST).read_bytes() == (folder / LIST).read_bytes()
    except OSError:
        return False


def _pip(release: Release, folder: Path, staged: Path) -> None:
    needs = staged / "requirements.txt"
    needs.write_text(
        "".join(f"{(folder / wheel.name).as_uri()} --hash=sha256:{wheel.sha256}\n" for wheel in release.wheels)
    )
    command = [sys.executable, "-P", "-m", "pip", "--isolated", "--no-input", "--disable-pip-version-check", "install"]
    command += ["--quiet", "--no-index", "--no-deps", "--no-cache-dir", "--require-hashes", "--target", str(staged)]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, and wheels that were proven
            [*command, "-r", str(needs)], check=False, capture_output=True, text=True, timeout=_INSTALLED_WITHIN
        )
    except subprocess.TimeoutExpired:
        raise StorageError(f"Installing {release.version} took more than {_INSTALLED_WITHIN:.0f} seconds.") from None
    finally:
        needs.unlink(missing_ok=True)
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise Unsupported(
                f"{sys.executable} has no pip, which installs releases.", remedy=f"`{sys.executable} -m ensurepip`."
            )
        if failed := _OF_THE_SYSTEM.search(done.stderr):  # a full disk says nothing of the release
            raise OSError(int(failed[1]), os.strerror(int(failed[1])))
        raise Unsupported(
            f"The release {release.version} cannot be installed here: {done.stderr.strip()[-_SAID:]}",
            remedy="Its wheels have to be for this machine's Python and processor.",
        )


def _check_needs(staged: Path, root: Path) -> None:
    """What the program needs is in the release, or in the environment of the launcher, in a version that will do."""
    brought = {canonicalize_name(one.name): one.version for one in distributions(path=[str(staged)])}
    own = next(one for one in distributions(path=[str(staged)]) if canonicalize_name(one.name) == DISTRIBUTION)
    there = [place for place in sys.path if not Path(place).is_relative_to(root)]  # not what this version brought
    missing = [need for need in _needs(own) if not _met(need, brought, there)]
    if missing:
        raise Unsupported(
            f"The release {own.version} needs {', '.join(missing)}, which neither it nor this machine has.",
            remedy="Put those wheels into the release, too.",
        )


def _needs(own: Distribution) -> Iterator[str]:
    for text in own.requires or ():
        try:
            need = Requirement(text)
        except InvalidRequirement:
            continue
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            need.marker = None
            yield str(need)


def _met(text: str, brought: Mapping[NormalizedName, str], there: list[str]) -> bool:
    need = Requirement(text)
    version = brought.get(canonicalize_name(need.name))
    if version is None:
        found = next(iter(distributions(name=need.name, path=there)), None)
        if found is None:
            return False
        version = found.version
    return need.specifier.contains(version, prereleases=True)


def _check_runs(staged: Path, version: str) -> None:
    """It starts, and is what it says."""
    try:
        said = subprocess.run(
            [sys.executable, "-P", "-m", "modeldist", "--version"],
            env={**os.environ, "PYTHONPATH": str(staged)},
            check=False,
            capture_output=True,
            text=True,
            timeout=_ANSWERS_WITHIN,
        )
    except subprocess.TimeoutExpired:
        raise AgentError(f"The release {version} does not start.", remedy="Try it on one machine first.") from None
    if said.returncode or said.stdout.split() != ["modeldist", version]:
        raise AgentError(
            f"The release {version} does not start: {(said.stderr or said.stdout).strip()[-_SAID:]}",
            remedy="Try it on one machine first.",
        )
