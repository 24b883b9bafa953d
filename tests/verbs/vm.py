"""`make test-rdma`: the tests on real verbs, in a virtual machine of its own kernel with Soft-RoCE.

The machine sees this file system, so what it runs is this checkout; it leaves a junit file behind. PYTHONPATH and
LD_LIBRARY_PATH hold in there, too: by them the tests run with another pyverbs.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.verbs import models

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / ".cache" / "rdma"
_PROGRAMS = {
    "vng": "virtme-ng (pip)",
    "qemu-system-x86_64": "qemu-system-x86",
    "rdma": "iproute2",
    "file": "file",
    "docker-registry": "docker-registry",
}
_PATHS = ("PYTHONPATH", "LD_LIBRARY_PATH")
_MEMORY, _CPUS, _MINUTES = "3G", "2", 25


def missing() -> list[str]:
    """What cannot be found, by the package that has it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    lacking = [package for program, package in _PROGRAMS.items() if shutil.which(program, path=path) is None]
    if kernel() is None:
        lacking.append("linux-image-amd64 (a kernel with rdma_rxe)")
    if not any(Path(folder, "pyverbs").is_dir() for folder in [*sys.path, "/usr/lib/python3/dist-packages"]):
        lacking.append("python3-pyverbs")
    return lacking


def kernel() -> Path | None:
    """The newest in /boot that has Soft-RoCE."""
    found = [
        image
        for image in Path("/boot").glob("vmlinuz-*")
        if any(Path("/lib/modules", image.name.removeprefix("vmlinuz-")).rglob("rdma_rxe.ko*"))
    ]
    return max(found, key=lambda image: [int(number) for number in re.findall(r"\d+", image.name)], default=None)


def run(arguments: list[str], *, measure: bool) -> Path:
    """Boot the machine, run pytest with `arguments`, and the benchmark of reads if it is to `measure`: where the junit
    file is, if there is one."""
    image = kernel()
    assert image is not None
    RESULTS.mkdir(parents=True, exist_ok=True)
    junit = RESULTS / "junit.xml"
    junit.unlink(missing_ok=True)
    script = RESULTS / "in-vm.sh"
    models.publish(RESULTS / "models")
    tests = shlex.join(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={junit}", "-q", *arguments]
    )
    reads = f"{shlex.quote(sys.executable)} -m tests.verbs.reads"
    paths = [f"export {name}={shlex.quote(os.environ[name])}\n" for name in _PATHS if name in os.environ]
    script.write_text(
        "modprobe rdma_rxe || exit 1\nip link set lo up\nmount -t tmpfs tmpfs /dev/shm 2>/dev/null\n"
        f"cd {shlex.quote(str(ROOT))}\n{''.join(paths)}"
        f"MODELDIST_TEST_RDMA=1 MODELDIST_TEST_MODELS={shlex.quote(str(RESULTS / 'models'))} {tests}\n"
        + (f"{reads}\n" if measure else "")
    )
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    machine = ["vng", "--disable-kvm", "--disable-microvm", "--force-9p", "-r", str(image)]
    machine += ["--cpus", _CPUS, "--memory", _MEMORY, "--rw", "--", f"sh {shlex.quote(str(script))}"]
    subprocess.run(machine, env=environment, check=False, timeout=_MINUTES * 60, stdin=subprocess.DEVNULL)
    return junit


def verdict(junit: Path) -> tuple[int, str]:
    """An exit status and the closing line."""
    if not junit.exists():
        return 1, "test-rdma: the machine ran no test; its output is above"
    suites = ElementTree.parse(junit).getroot().iter("testsuite")
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in suites:
        for name in counts:
            counts[name] += int(suite.get(name, "0"))
    bad = counts["failures"] + counts["errors"]
    good = counts["tests"] - bad - counts["skipped"]
    return (1 if bad or not good else 0), f"test-rdma: {good} passed, {bad} failed, {counts['skipped']} skipped"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.verbs.vm", description=__doc__)
    parser.add_argument("arguments", nargs="*", help="for pytest; tests/verbs when there are none")
    options, more = parser.parse_known_args()
    if lacking := missing():
        sys.stdout.write(f"test-rdma: not run, missing here: {', '.join(lacking)}\n")
        return 3
    asked = [*options.arguments, *more]
    status, line = verdict(run(asked or ["tests/verbs"], measure=not asked))
    sys.stdout.write(line + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
