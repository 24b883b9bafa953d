"""Container images, small and valid, as OCI layouts: layers are archives, an index has one image for each platform.

layout = image_layout(tmp_path / "image", "web", {"linux/amd64": 3, "linux/arm64": 2})   # tagged "v1"
push(layout, registry.host, "org/web:v1")
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.servers.artifacts import OCI_INDEX, OCI_MANIFEST, sha256, tar, zipped

IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Layout:
    """The directory, its index of images, and what is in it by digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs: dict[str, bytes] = {}
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def put(self, media_type: str, data: bytes, **members: Any) -> dict[str, Any]:
        """The descriptor of a blob."""
        digest = sha256(data)
        (self.folder / "blobs" / digest.replace(":", "/")).write_bytes(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **members}

    def put_json(self, media_type: str, document: dict[str, Any], **members: Any) -> dict[str, Any]:
        return self.put(media_type, json.dumps(document).encode(), **members)


def image_layout(folder: Path, name: str, layers: Mapping[str, int], *, size: int = 300_000) -> Layout:
    """One image for each platform, with so many layers of about `size` bytes; the first is the same for all."""
    layout = Layout(folder)
    images = [_image(layout, name, platform, count, size) for platform, count in layers.items()]
    root = images[0]
    if len(images) > 1:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": images}
        root = layout.put_json(OCI_INDEX, index)
    named = {**root, "annotations": {"org.opencontainers.image.ref.name": "v1"}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    return layout


def _image(layout: Layout, name: str, platform: str, count: int, size: int) -> dict[str, Any]:
    system, architecture = platform.split("/")
    names = [f"{name}-{platform if number else 'shared'}-{number}" for number in range(count)]
    archives = [tar({f"srv/{each.replace('/', '-')}": Random(each).randbytes(size)}) for each in names]
    config = {
        "architecture": architecture,
        "os": system,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [sha256(archive) for archive in archives]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": layout.put_json(IMAGE_CONFIG, config),
        "layers": [layout.put(LAYER, zipped(archive)) for archive in archives],
    }
    return layout.put_json(OCI_MANIFEST, manifest, platform={"os": system, "architecture": architecture})


def skopeo(*arguments: str) -> str:
    """Its output. AssertionError with its words when it fails."""
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def needs_skopeo() -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed (Debian: apt-get install skopeo)")


def push(layout: Layout, host: str, name: str, *, docker: bool = False, credentials: str = "") -> str:
    """The reference it has now; `docker`: with manifests of Docker's own types."""
    reference = f"{host}/{name}"
    form = ["--format", "v2s2"] if docker else ["--preserve-digests"]
    given = ["--dest-creds", credentials] if credentials else []
    skopeo(
        "copy", "--all", "--dest-tls-verify=false", *form, *given, f"oci:{layout.folder}:v1", f"docker://{reference}"
    )
    return reference


def blobs_in(folder: Path) -> dict[str, bytes]:
    """Of a layout, by digest."""
    return {f"sha256:{path.name}": path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}
