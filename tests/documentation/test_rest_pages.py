"""docs/client.md and docs/platforms.md, run as they stand against a control plane and its agents."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.documentation import page
from tests.documentation.reading import commands
from tests.servers.cluster import Cluster
from tests.servers.oci_faults import FaultyRegistry

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {DOCS / "client.md": {"python"}, DOCS / "platforms.md": {"bash", "console"}}  # and what is run of them
SET = {"MODELDIST_AGENT_LABELS": '{"gpu": "h100"}', "MODELDIST_SERVER_WEBHOOK_HOSTS": "127.0.0.1"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), 2, environment=SET) as running:
        yield running


def test_the_client(tmp_path: Path, cluster: Cluster, faulty: FaultyRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty.add_model("org/model", "v1", {"config.json": b"{}", "model.safetensors": b"x" * 100_000})
    monkeypatch.setenv("MODELDIST_SERVER", cluster.url)
    monkeypatch.setenv("MODELDIST_TOKEN", cluster.token("admin"))
    monkeypatch.setenv("MODEL", f"{faulty.host}/org/model:v1")
    monkeypatch.setenv("SECRET", "whsec_" + "A" * 44)
    path = DOCS / "client.md"
    assert page.run(path, page.examples(path.read_text()), tmp_path, {}, {}) == 10


@contextmanager
def endpoint(room: Path) -> Iterator[str]:
    """The platform's: saves what comes as the page says."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (room / "hook.body").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            saved = room / "hook.headers.new"
            saved.write_bytes(bytes(self.headers))
            saved.rename(room / "hook.headers")  # whoever waits for it finds all of it
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/hook"
        finally:
            server.shutdown()
            thread.join()


def typed(text: str) -> Iterator[str]:
    for block in page.blocks(text):
        yield from commands(block.text) if block.language == "console" else [block.text]


def test_a_rollout_with_curl(tmp_path: Path, cluster: Cluster, faulty: FaultyRegistry) -> None:
    """All of the page, in one shell."""
    files = {"config.json": b"[]", "model.safetensors": os.urandom(1_000_000)}  # nothing of it is in the cluster
    size = sum(map(len, files.values()))
    faulty.add_model("org/model", "v1", files)
    room = tmp_path / "room"
    room.mkdir()
    with endpoint(room) as hook:
        places = {
            "https://control:7420": cluster.url,
            "md_…": cluster.token("admin"),
            "registry.example": faulty.host,
            "https://platform.example/hook": hook,
        }
        script = page.placed("\n".join(typed((DOCS / "platforms.md").read_text())), places)
        done = subprocess.run(
            ["bash", "-x", "-o", "pipefail", "-c", script],
            cwd=room,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
        freed = [int(count) for count in re.findall(r'"bytes_freed":(\d+)', done.stdout)]
        assert len(freed) == 2
        assert min(freed) >= len(files["model.safetensors"])
        kept = f"{faulty.host.replace(':', '-')}.org--model"
        for index in range(2):  # it was on both nodes, and was evicted at the end
            assert not list(cluster.store(index).glob(f"**/models--{kept}/**/model.safetensors"))
    sent = sum(exchange.sent for exchange in faulty.seen("blobs", "GET") if exchange.range)
    assert sent == size  # the second node took it from the first
