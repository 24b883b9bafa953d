"""The collection of artifacts in the dialects of other tools, and ways to put one where a pull finds it.

One folder per case: `manifest.json`, and in `blobs/` files called `sha256-<hex>`. `index.json` lists the cases with the
manifest's digest and the expected verdict. Where the collection is missing, `needs_collection` skips with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelpack.layout import OciLayout
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry

_BESIDE = Path(__file__).parents[3] / "shared" / "conformance"
FOLDER = Path(os.environ.get("MODELDIST_CONFORMANCE", _BESIDE)) / "dialects"
INDEX = FOLDER / "index.json"
REPOSITORY = "dialects/model"

needs_collection = pytest.mark.skipif(not INDEX.is_file(), reason=f"the conformance data is not in {FOLDER.parent}")
cases: dict[str, dict[str, str]] = (
    {case["name"]: case for case in json.loads(INDEX.read_text())} if INDEX.is_file() else {}
)


def manifest(case: str) -> bytes:
    return (FOLDER / case / "manifest.json").read_bytes()


def media_type(case: str) -> str:
    document: dict[str, Any] = json.loads(manifest(case))
    return str(document["mediaType"])


def blobs(case: str) -> Iterator[tuple[str, Path]]:
    """(digest, file)."""
    for path in sorted((FOLDER / case / "blobs").iterdir()):
        yield path.name.replace("-", ":", 1), path


def layout_of(case: str, path: Path) -> OciLayout:
    """An OCI image layout that holds the case under its name."""
    layout = OciLayout.create(path)
    for digest, blob in blobs(case):
        shutil.copyfile(blob, layout.blobs.path_of(digest))
    descriptor = layout.add_manifest(manifest(case), case)
    assert descriptor.digest == cases[case]["manifest_digest"]
    return layout


def pushed(case: str, registry: Registry) -> str | None:
    """Push the case to a real registry; its reference, None when the registry refuses the manifest."""
    with httpx2.Client(base_url=f"{registry.url}/v2/{REPOSITORY}/") as client:
        for digest, blob in blobs(case):
            session = httpx2.URL(client.post("blobs/uploads/").raise_for_status().headers["location"])
            client.put(session.copy_add_param("digest", digest), content=blob.read_bytes()).raise_for_status()
        answer = client.put(f"manifests/{case}", content=manifest(case), headers={"Content-Type": media_type(case)})
    return f"{registry.host}/{REPOSITORY}:{case}" if answer.is_success else None


def served(case: str, registry: FaultyRegistry, *, content_type: str | None = None) -> str:
    """Put the case into a registry that takes everything; its reference."""
    for _, blob in blobs(case):
        registry.add_blob(REPOSITORY, blob.read_bytes())
    registry.add_manifest(REPOSITORY, case, manifest(case), content_type or media_type(case))
    return f"{registry.host}/{REPOSITORY}:{case}"
