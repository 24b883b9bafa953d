"""The command line in odd surroundings: broken proxies, names that are no text, an output that takes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers.cluster import MODELDIST
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

NOT_TEXT = os.fsdecode(b"\xff")


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:port", "socks5://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_named(tmp_path: Path, proxy: str) -> None:
    shell = Shell(tmp_path, ALL_PROXY=proxy, all_proxy=proxy, NO_PROXY="", no_proxy="")
    for command in ("pull", "inspect"):
        said = shell.fails(8, command, "127.0.0.1:1/org/model:v1")
        assert "The proxy that the environment names cannot be used" in said


@pytest.mark.parametrize(
    ("reference", "code"),
    [("", 2), (f"127.0.0.1:1/org/{NOT_TEXT}:v1", 2), (f"file:///{NOT_TEXT}", 2), (f"oci-layout:/{NOT_TEXT}:v1", 2)],
)
def test_references_that_are_none_say_so_and_nothing_else(tmp_path: Path, reference: str, code: int) -> None:
    said = Shell(tmp_path).fails(code, "pull", reference)
    assert said.startswith("modeldist: "), said


def test_a_store_whose_path_is_no_text_is_refused(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        registry.add_model("org/model", "v1", {"model.safetensors": b"weights"})
        shell = Shell(tmp_path, MODELDIST_STORE=str(tmp_path / NOT_TEXT))
        assert "is not UTF-8" in shell.fails(14, "pull", f"{registry.host}/org/model:v1")


@pytest.mark.parametrize("arguments", [["version"], ["ls", "--json"], ["--help"], ["pull", "--help"]], ids=" ".join)
def test_an_output_that_takes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*MODELDIST, *arguments],
            env=Shell(tmp_path).environment,
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 12
    assert done.stderr.startswith("modeldist: Standard output cannot be written: No space left on device.")
    assert "Traceback" not in done.stderr


def test_a_read_only_store_gives_what_it_has(tmp_path: Path) -> None:
    def sealed(*arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command where the store cannot be written, not even by root."""
        script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, str(shell.store), *arguments],
            env=shell.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    with FaultyRegistry() as registry:
        for tag in ("v1", "v2"):
            registry.add_model("org/model", tag, {"model.safetensors": tag.encode()})
        shell = Shell(tmp_path)
        path = shell.pull(f"{registry.host}/org/model:v1")
        if shutil.which("unshare") is None or sealed("true").returncode:
            pytest.skip("needs a mount namespace of its own")
        here = sealed(*MODELDIST, "pull", f"{registry.host}/org/model:v1")
        assert (here.returncode, here.stdout, here.stderr) == (0, f"{path}\n", "")
        other = sealed(*MODELDIST, "pull", f"{registry.host}/org/model:v2")
        assert (other.returncode, other.stdout) == (14, ""), other.stderr
        assert "Read-only file system" in other.stderr
