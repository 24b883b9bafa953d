"""docs/platforms.md, run as it stands: all of its bash blocks in one shell, against a control plane and its agents."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.documentation.page import blocks
from tests.servers.cluster import Cluster
from tests.servers.oci_faults import FaultyRegistry

PAGE = Path(__file__).parents[2] / "docs" / "platforms.md"
LABELS = {"MODELDIST_AGENT_LABELS": '{"gpu": "h100"}'}


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


def test_the_page_does_what_it_says(tmp_path: Path, faulty: FaultyRegistry) -> None:
    files = {"config.json": b"{}", "model.safetensors": os.urandom(1_000_000)}
    size = sum(map(len, files.values()))
    faulty.add_model("org/model", "v1", files)
    script = "".join(block.text for block in blocks(PAGE.read_text()) if block.language == "bash")
    room = tmp_path / "room"
    room.mkdir()
    with endpoint(room) as hook, Cluster(tmp_path / "cluster", 2, environment=LABELS) as cluster:
        environment = os.environ | {
            "MODELDIST_SERVER": cluster.url,
            "MODELDIST_TOKEN": cluster.token("admin"),
            "MODEL": f"{faulty.host}/org/model:v1",
            "HOOK": hook,
        }
        done = subprocess.run(
            ["bash", "-x", "-o", "pipefail", "-c", script],
            cwd=room,
            env=environment,
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
        for index in range(2):  # it was on both nodes, and was evicted at the end
            assert not list(cluster.store(index).glob("**/model.safetensors"))
    sent = sum(exchange.sent for exchange in faulty.seen("blobs", "GET") if exchange.range)
    assert sent == size  # the second node took it from the first
