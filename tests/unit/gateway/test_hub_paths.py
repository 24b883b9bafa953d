from __future__ import annotations

import pytest

from modeldist.gateway.hub.paths import HubRequest, parse


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/api/models/org/name", HubRequest("info", "org/name", "main")),
        ("/api/models/gpt2", HubRequest("info", "gpt2", "main")),
        ("/api/models/org/name/revision/refs%2Fpr%2F1", HubRequest("info", "org/name", "refs/pr/1")),
        ("/api/models/gpt2/tree/main", HubRequest("tree", "gpt2", "main")),
        ("/api/models/org/name/tree/v1/a/b%20c", HubRequest("tree", "org/name", "v1", "a/b c")),
        ("/api/models/org/name/paths-info/main", HubRequest("paths-info", "org/name", "main")),
        ("/org/name/resolve/main/a/resolve/b", HubRequest("resolve", "org/name", "main", "a/resolve/b")),
        ("/gpt2/resolve/main/config.json", HubRequest("resolve", "gpt2", "main", "config.json")),
    ],
)
def test_requests(path: str, request_: HubRequest) -> None:
    assert parse(path) == request_


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/api/models",
        "/api/models/",
        "/api/models/org/name/revision/",
        "/api/models/org/name/revision/main/more",
        "/api/models/org/name/commits/main",
        "/api/models/a/b/c/revision/main",
        "/api/datasets/org/name",
        "/datasets/org/name/resolve/main/a",
        "/api/agent-harnesses",
        "/org/name/resolve/main",
        "/org/name/resolve/main/",
        "/org/na--me/resolve/main/a",
        "/../name/resolve/main/a",
        "/org/%2E%2E/resolve/main/a",
        "/org/a%2Fb/resolve/main/a",
        f"/org/{'n' * 96}/resolve/main/a",
        "/org/name/resolve/main/../../../other/resolve/main/a",
        "/org/name/resolve/main/a/%2E%2e/b",
        "/org/name/resolve/main/a%2F..%2Fb",
        "/org/name/resolve/main/./a",
        "/org/name/resolve/../a",
        "/org/name/resolve/refs%2F..%2Fmain/a",
        "/org/name/resolve/main/a%00b",
        "/org/name/resolve/main%0D%0AX-A:%20b/a",
        "/api/models/org/name/tree/main/..",
        "/api/models/org/name/revision/..",
    ],
)
def test_anything_else(path: str) -> None:
    assert parse(path) is None
