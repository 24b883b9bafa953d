"""Releases of this checkout, and what can be wrong with them: real wheels, signed or not as they should be."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

from modeldist import __version__
from modeldist.upgrade.release import make
from modelpack.trust.keys import PrivateKey

CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("modeldist", "modelpack", "rdma", "deploy/package", "deploy/site")
CRASHES = 'raise SystemExit("this release crashes")\n'


def build(home: Path, version: str) -> Path:
    """A wheel of the checkout as `version`, built as a release is. Needs the extra `package`."""
    source, out = home / f"source-{version}", home / f"wheel-{version}"
    source.mkdir(parents=True)
    for name in FOLDERS:
        shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "LICENSE", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, source / name)
    for file, line in (("pyproject.toml", 'version = "{}"'), ("modeldist/__init__.py", '__version__ = "{}"')):
        path = source / file
        was, becomes = line.format(__version__), line.format(version)
        assert was in path.read_text()
        path.write_text(path.read_text().replace(was, becomes, 1))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", out, source],
        check=True,
        timeout=240,
    )
    (wheel,) = out.glob("*.whl")
    return wheel


def changed(wheel: Path, home: Path, version: str, changes: Mapping[str, str]) -> Path:
    """The same wheel as another version, with `changes` put behind what files of it have."""
    old = wheel.name.split("-")[1]
    made = home / wheel.name.replace(f"-{old}-", f"-{version}-")
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    info = f"modeldist-{version}.dist-info"
    with zipfile.ZipFile(wheel) as before, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            data, becomes = before.read(name), name.replace(f"modeldist-{old}.dist-info", info)
            if becomes == f"{info}/RECORD":
                continue
            if name == "modeldist/__init__.py":
                data = data.replace(f'"{old}"'.encode(), f'"{version}"'.encode())
            if becomes == f"{info}/METADATA":
                data = data.replace(f"\nVersion: {old}\n".encode(), f"\nVersion: {version}\n".encode())
            data += changes.get(name, "").encode()
            after.writestr(becomes, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.writerow([becomes, f"sha256={digest}", len(data)])
        rows.writerow([f"{info}/RECORD", "", ""])
        after.writestr(f"{info}/RECORD", record.getvalue())
    return made


def release(wheel: Path, home: Path, key: PrivateKey, **how: float) -> dict[str, bytes]:
    """The files of a release of one wheel."""
    folder = home / f"release-{wheel.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(wheel, folder)
    make(folder, key, minimum="0", now=how.get("now", time.time()), lifetime=how.get("lifetime", 3600.0))
    return {path.name: path.read_bytes() for path in folder.iterdir()}
