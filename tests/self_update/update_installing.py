"""Installing a release with the real pip, of a wheel that says which version it is and no more."""

from __future__ import annotations

import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modeldist.errors import AgentError, ModeldistError, StorageError, Unsupported
from modeldist.upgrade.installing import install
from modeldist.upgrade.release import Release, make, read
from modeldist.upgrade.versions import Versions
from modelpack.trust.keys import generate

KEY = generate()
SAYS = "import sys; print('modeldist', {!r}) if sys.argv[1:] == ['--version'] else sys.exit(2)\n"
SMALL = 200_000  # bytes


def wheel(folder: Path, version: str, program: str, *, needs: str = "", ballast: int = 0, **more: bytes) -> None:
    about = f"modeldist-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: modeldist\nVersion: {version}\n"
    files = {
        "modeldist/__init__.py": b"",
        "modeldist/__main__.py": program.encode(),
        "modeldist/ballast": bytes(ballast),
        f"{about}/METADATA": (metadata + (f"Requires-Dist: {needs}\n" if needs else "")).encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **{name.replace("__", "/"): data for name, data in more.items()},
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"modeldist-{version}-py3-none-any.whl", "w") as archive:
        for name, data in (*files.items(), (f"{about}/RECORD", record.encode())):
            archive.writestr(name, data)


def signed(folder: Path) -> Release:
    make(folder, KEY, minimum="0", now=0.0)
    return read(folder, [KEY.public])


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path / "versions")


def left(versions: Versions) -> list[str]:
    return sorted(path.name for path in versions.root.iterdir() if path.name != "lock")


def test_a_release_is_installed_once(tmp_path: Path, versions: Versions) -> None:
    wheel(tmp_path / "release", "9.9.9", SAYS.format("9.9.9"))
    release = signed(tmp_path / "release")
    install(release, tmp_path / "release", versions)
    assert left(versions) == ["9.9.9"]
    assert versions.whole("9.9.9")
    before = (versions.tree("9.9.9") / "modeldist").stat().st_ino
    install(release, tmp_path / "release", versions)
    assert (versions.tree("9.9.9") / "modeldist").stat().st_ino == before, "not again"


@pytest.mark.parametrize(
    ("program", "needs", "error", "says"),
    [
        ("raise SystemExit('broken')", "", AgentError, "broken"),
        (SAYS.format("9.9.8"), "", AgentError, "does not start"),
        (SAYS.format("9.9.9"), "nothing-like-it>=1", Unsupported, "nothing-like-it"),
        (SAYS.format("9.9.9"), "msgspec>=999", Unsupported, "msgspec"),
    ],
)
def test_what_would_not_run_leaves_nothing(
    program: str, needs: str, error: type[ModeldistError], says: str, tmp_path: Path, versions: Versions
) -> None:
    wheel(tmp_path / "release", "9.9.9", program, needs=needs)
    with pytest.raises(error, match=says):
        install(signed(tmp_path / "release"), tmp_path / "release", versions)
    assert left(versions) == []


def test_a_wheel_changed_after_it_was_proven_is_not_installed(tmp_path: Path, versions: Versions) -> None:
    wheel(tmp_path / "release", "9.9.9", SAYS.format("9.9.9"))
    release = signed(tmp_path / "release")
    wheel(tmp_path / "release", "9.9.9", SAYS.format("9.9.9") + "# and more")
    with pytest.raises(Unsupported, match=r"(?i)hash"):
        install(release, tmp_path / "release", versions)
    assert left(versions) == []


def test_nothing_of_a_wheel_lies_elsewhere(tmp_path: Path, versions: Versions) -> None:
    wheel(tmp_path / "release", "9.9.9", SAYS.format("9.9.9"), **{"..__..__..__escaped": b"x"})
    with pytest.raises(Unsupported, match="outside"):
        install(signed(tmp_path / "release"), tmp_path / "release", versions)
    assert left(versions) == []
    assert not list(tmp_path.rglob("escaped"))


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_is_told_as_that_and_leaves_nothing(tmp_path: Path, versions: Versions) -> None:
    """It says nothing of the release: who is asked to install it has failed, and is not one that cannot."""
    wheel(tmp_path / "release", "9.9.9", SAYS.format("9.9.9"), ballast=10 * SMALL)
    release = signed(tmp_path / "release")
    with no_file_larger_than(SMALL), pytest.raises(StorageError, match=r"9\.9\.9 cannot be installed into") as told:
        install(release, tmp_path / "release", versions)
    assert "TMPDIR" in (told.value.remedy or "")
    assert left(versions) == []
    install(release, tmp_path / "release", versions)
    assert left(versions) == ["9.9.9"]
