"""The conformance suite on the origins that need no process of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from tests.servers.files import FaultyFiles
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault
from tests.servers.modelscope import ModelScope
from tests.unit.origins.conformance import FILES, OriginConformance, Place
from tests.unit.origins.conftest import QUICK

BIG = FILES["sub/deep/model.safetensors"]


class TestFileDirectory(OriginConformance):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        home = tmp_path / "my models"
        for name, content in FILES.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(content)
        weights = home / "sub/deep/model.safetensors"
        return Place(
            Origins(OriginSettings(file_roots=(tmp_path,))),
            home.as_uri(),
            (tmp_path / "none").as_uri(),
            move=lambda: (home / "config.json").write_bytes(b"{}") and None,
            spoil=lambda: weights.write_bytes(bytes(len(BIG))) and None,
        )


class TestFileAlone(OriginConformance):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        path = tmp_path / "weights.bin"
        path.write_bytes(BIG)

        def change() -> None:
            path.unlink()
            path.write_bytes(BIG[:-1])

        return Place(
            Origins(OriginSettings(file_roots=None)),
            path.as_uri(),
            (tmp_path / "none").as_uri(),
            move=change,
            spoil=change,
            contents={"weights.bin": BIG},
        )


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    with FaultyFiles({"a b/weights.bin": BIG}) as server:
        yield server


class TestHttpWithEtag(OriginConformance):
    @pytest.fixture
    def place(self, files: FaultyFiles) -> Place:
        files.files = {"a%20b/weights.bin": BIG}

        def change() -> None:
            files.files["a%20b/weights.bin"] = bytes(len(BIG))

        return Place(
            Origins(OriginSettings(http=QUICK)),
            f"{files.url}/a%20b/weights.bin",
            f"{files.url}/none.bin",
            move=change,
            spoil=change,
            contents={"weights.bin": BIG},
        )


class TestHttpWithLastModified(OriginConformance):
    @pytest.fixture
    def place(self, files: FaultyFiles) -> Place:
        files.files = {"weights.bin": BIG}
        files.headers = {"ETag": 'W/"weak"', "Last-Modified": "Sat, 24 Oct 2026 10:00:00 GMT"}

        def change() -> None:
            files.headers["Last-Modified"] = "Sun, 25 Oct 2026 10:00:00 GMT"

        return Place(
            Origins(OriginSettings(http=QUICK)),
            f"{files.url}/weights.bin",
            f"{files.url}/none.bin",
            move=change,
            spoil=change,
            contents={"weights.bin": BIG},
        )


@pytest.mark.parametrize("cdn", [False, True], ids=["direct", "cdn"])
class TestHub(OriginConformance):
    @pytest.fixture
    def place(self, cdn: bool) -> Iterator[Place]:
        with Hub(cdn=cdn) as hub:
            hub.commit("org/model", FILES)

            def move() -> None:
                hub.commit("org/model", {**FILES, "config.json": b"{}"})

            yield Place(
                Origins(OriginSettings(hf_endpoint=hub.url, hf_token=lambda: None, http=QUICK)),
                "hf://org/model",
                "hf://org/none",
                move=move,
                spoil=lambda: (hub.cdn or hub).fail(Fault(garble=True)) and None,
            )


@pytest.mark.parametrize("cdn", [False, True], ids=["direct", "cdn"])
class TestModelScope(OriginConformance):
    @pytest.fixture
    def place(self, cdn: bool) -> Iterator[Place]:
        with ModelScope(cdn=cdn) as hub:
            hub.commit("org/model", FILES)

            def move() -> None:
                hub.commit("org/model", {**FILES, "config.json": b"{}"})

            yield Place(
                Origins(OriginSettings(modelscope_endpoint=hub.url, modelscope_token=lambda: None, http=QUICK)),
                "modelscope://org/model",
                "modelscope://org/none",
                move=move,
                spoil=lambda: (hub.cdn or hub).fail(Fault(garble=True)) and None,
            )


async def test_http_with_a_digest_is_pinned_by_it(files: FaultyFiles) -> None:
    files.files = {"weights.bin": BIG}
    files.headers = {"ETag": ""}
    digest = hashlib.sha256(BIG).hexdigest()
    origins = Origins(OriginSettings(http=QUICK))
    artifact = await origins.resolve(f"{files.url}/weights.bin#sha256={digest.upper()}")
    assert artifact.files[0].digest == f"sha256:{digest}"
    assert artifact.reference == f"{files.url}/weights.bin#sha256={digest}"
    assert artifact.tag == "" and not artifact.warnings
    asked = len(files.requests)
    assert await origins.still(artifact, artifact.reference)
    assert not await origins.still(artifact, f"{files.url}/weights.bin#sha256={'0' * 64}")
    assert len(files.requests) == asked
