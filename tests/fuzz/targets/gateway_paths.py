"""What a request to the gateway is, by its path and its Range: of any text one of the known kinds, or none; never a
name that leads elsewhere, never bytes that do not exist.

The first line of an input is the path as it was sent, the second a Range header, the third a Host.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from modeldist.gateway import byte_ranges
from modeldist.gateway.app import _asked_by_loopback_name
from modeldist.gateway.hub import paths as hub
from modeldist.gateway.oci import paths as oci
from tests.fuzz.target import Target

SIZE = 1000
DIGEST = "sha256:" + "ab" * 32


def seeds() -> Iterator[bytes]:
    for path in (
        "/api/models/org/model",
        "/api/models/org/model/revision/main",
        "/api/models/org/model/tree/refs%2Fpr%2F1/folder?recursive=true",
        "/api/models/org/model/paths-info/main",
        "/org/model/resolve/main/folder/model%20a.safetensors",
        "/gpt2/resolve/main/config.json",
        "/v2/",
        "/v2/_token",
        "/v2/org/model/manifests/v1",
        f"/v2/localhost_5000/org/model/blobs/{DIGEST}",
        "/v2/org/model/tags/list",
        f"/v2/org/model/referrers/{DIGEST}",
        "/v2/org/model/blobs/uploads/",
    ):
        for asked in ("bytes=0-499", "bytes=-5", "bytes=990-"):
            yield f"{path}\n{asked}\nlocalhost:7430".encode()
    yield b"/org/model/resolve/main/%2e%2e/x\nbytes=0-1,5-6\n[::1]:1"


def check(data: bytes) -> None:
    path, _, rest = data.partition(b"\n")
    asked, _, host = rest.partition(b"\n")
    _check_hub(path.decode("latin-1").partition("?")[0])
    _check_oci(unquote(path.decode("latin-1")).partition("?")[0])
    for size in (0, 1, SIZE):
        _check_range(asked.decode("latin-1"), size)
    _asked_by_loopback_name(host.decode("latin-1"))


def _check_hub(raw: str) -> None:
    found = hub.parse(raw)
    if found is None:
        return
    for text in (found.repo, found.revision, found.path):
        assert not any(part in (".", "..") for part in text.split("/")), found
        assert not any(sign < " " or sign == "\x7f" for sign in text), found
    assert found.revision and 0 < len(found.repo) <= 96 and found.repo.count("/") <= 1
    assert found.path or found.kind != "resolve"


def _check_oci(path: str) -> None:
    found = oci.parse(path)
    if found is not None and found.name:
        assert ".." not in found.name.split("/") and len(found.name) < 1024


def _check_range(header: str, size: int) -> None:
    try:
        span = byte_ranges.wanted(header, size)
    except byte_ranges.Unsatisfiable:
        return
    assert span is None or 0 <= span[0] < span[1] <= size


WORDS = tuple(
    b"/api/models/ /resolve/ /tree/ /revision/ /paths-info/ /v2/ /manifests/ /blobs/ /tags/list /referrers/ /uploads/ "
    b"%2e%2e %2F %00 %0a %ff .. // ? bytes= - , 0-0 -0 999999999999999999 localhost @ [::1] sha256: main".split()
)
TARGET = Target("gateway_paths", check, seeds, WORDS, longest=600)
