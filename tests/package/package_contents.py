"""What is built, and that it is the same wherever and whenever it is built."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from tests.package.conftest import ROOT, Built, checkout

PACKAGES = ("modeldist", "modelpack", "rdma")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_builds_from_two_directories_are_the_same(built: Built, built_again: Built) -> None:
    assert built.wheel.name == built_again.wheel.name
    assert digest(built.wheel) == digest(built_again.wheel)
    assert digest(built.sdist) == digest(built_again.sdist)


def test_the_wheel_has_the_packages_whole_and_nothing_else(built: Built) -> None:
    names = zipfile.ZipFile(built.wheel).namelist()
    inside = {name for name in names if name.partition("/")[0] in PACKAGES}
    assert inside == {name for name in checkout() if name.partition("/")[0] in PACKAGES}, "data files, too"
    assert {f"{package}/py.typed" for package in PACKAGES} <= inside
    others = {"/".join(PurePosixPath(name).parts[1:]) for name in set(names) - inside}
    assert others == {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "licenses/LICENSE",
        "data/share/man/man1/modeldist.1",
    }


def test_the_sdist_has_what_a_build_and_the_tests_need(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "mkdocs.yml", "deploy/package/modeldist.1"} <= names
    assert {name for name in checkout() if name.startswith(("tests/", "docs/"))} <= names
    assert not [name for name in names if name.startswith((".venv", ".cache", ".git/")) or name.endswith(".pyc")]


def test_what_it_says_of_itself(built: Built) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(built.wheel), str(built.sdist)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_images_copy_is_enough(tmp_path: Path) -> None:
    """As deploy/images/Dockerfile installs it."""
    lines = (ROOT / "deploy" / "images" / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY ") and "--" not in line for name in line.split()[1:-1]}
    assert {"pyproject.toml", *PACKAGES} <= copied
    for name in copied - {"deploy/images/control_health.py"}:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            tmp_path / "out",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "out").glob("*.whl")
    assert [name for name in zipfile.ZipFile(wheel).namelist() if "share/man" in name]
