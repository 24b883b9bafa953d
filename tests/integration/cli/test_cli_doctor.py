"""`modeldist doctor` where nothing runs, and the checks that measure."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from modeldist import __version__
from modeldist.agent.this_node import Node
from modeldist.cli.doctor import checks, disk, machine, reach
from modeldist.cli.doctor.finding import Finding, ok
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell


def doctor(shell: Shell, *arguments: str, code: int) -> dict[str, dict[str, Any]]:
    done = shell.run("doctor", "--json", *arguments)
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] == (code == 0)
    return {finding["check"]: finding for finding in found["checks"]}


def test_a_machine_without_an_agent(shell: Shell, faulty: FaultyRegistry) -> None:
    here = ("--registry", faulty.host, "--hf-endpoint", f"http://{faulty.host}")
    found = doctor(shell, *here, code=0)
    for check in (
        "version",
        "store",
        "free space",
        "disk write",
        "disk read",
        "open files",
        "registry",
        "hub",
        "agent",
    ):
        assert found[check]["found"], check
        assert bool(found[check]["remedy"]) == (found[check]["state"] != "ok")
    assert found["registry"]["state"] == found["agent"]["state"] == "ok"
    assert found["disk write"]["value"] > 0
    assert "control plane" not in found
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = f"http://127.0.0.1:{silent.getsockname()[1]}"
    assert doctor(shell, *here, "--server", nobody, code=26)["control plane"]["state"] == "fail"
    told = shell.run("doctor", *here, "--server", nobody)
    assert (told.returncode, told.stderr) == (26, "")
    assert "fail  control plane" in told.stdout


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (found,) = disk.store(tmp_path / "file" / "store")
    assert (found.check, found.state) == ("store", "fail")
    assert "--store" in found.remedy


def test_measuring_leaves_nothing(tmp_path: Path) -> None:
    found = list(disk.store(tmp_path / "store"))
    assert [finding.check for finding in found] == ["store", "free space", "disk write", "disk read"]
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize(("apart", "state"), [(0.3, "ok"), (-4.0, "ok"), (60.0, "warn"), (-7200.0, "warn")])
def test_clocks(apart: float, state: str) -> None:
    found = reach._clock(apart)
    assert (found.state, bool(found.remedy)) == (state, state != "ok")


def test_an_origin_that_is_ill(faulty: FaultyRegistry) -> None:
    from tests.servers import faults

    faulty.inject(faults.unavailable())
    (found,) = reach.origin("registry", f"http://{faulty.host}/v2/", wants="--registry")
    assert (found.state, "503" in found.found) == ("warn", True)


def test_an_answer_without_an_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")

        endless = threading.Thread(target=answer, daemon=True)
        endless.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v2/"
        (found,) = reach.origin("registry", url, wants="--registry")
        endless.join(30)
    assert (found.state, endless.is_alive()) == ("ok", False)


def test_a_check_that_hangs_hides_no_other() -> None:
    """A disk that is away, a server that sends a byte of its head now and then."""
    hangs = threading.Event()

    def stuck() -> Iterator[Finding]:
        yield ok("store", "It is there.")
        hangs.wait(60)

    def broken() -> Iterator[Finding]:
        raise LookupError("nobody thought of it")
        yield

    found = checks.run({"store": stuck, "broken": broken, "link": machine.limits}, within=0.5)
    hangs.set()
    assert [(each.check, each.state) for each in found[:3]] == [("store", "ok"), ("store", "fail"), ("broken", "fail")]
    assert "has not ended within 0.5 seconds" in found[1].found
    assert "nobody thought of it" in found[2].found
    assert found[3].check == "open files"


def test_limits_of_this_process() -> None:
    assert [finding.check for finding in machine.limits()] == ["open files"]
    assert all(finding.state in ("ok", "warn") for finding in machine.links())


@pytest.mark.parametrize(
    ("runs", "launched", "state", "said"),
    [
        ("9.0.0", True, "ok", f"runs 9.0.0, which a rollout brought; installed is {__version__}"),
        ("0.0.1", True, "warn", f"runs 0.0.1; installed is {__version__}"),
        ("9.0.0", False, "warn", f"of version 9.0.0; this program is of {__version__}"),
    ],
)
def test_an_agent_of_another_version(tmp_path: Path, runs: str, launched: bool, state: str, said: str) -> None:
    """Its socket answers as that version's would."""
    status = json.dumps({"version": runs, "launched": launched, "connected": True, "control_error": ""}).encode()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(status)))
            self.end_headers()
            self.wfile.write(status)

        def address_string(self) -> str:
            return "here"

    path = tmp_path / "agent.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Answers) as served:
        threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        (found,) = reach.agent(Node(tmp_path, None, path, None))
        served.shutdown()
    assert (found.state, said in found.found) == (state, True), found
