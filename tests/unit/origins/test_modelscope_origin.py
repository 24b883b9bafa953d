"""What is particular to ModelScope: whole listings, tokens, answers that say no, references and settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from modeldist.errors import (
    AccessDenied,
    InvalidReference,
    NotFound,
    OriginProtocolError,
    OriginUnavailable,
    RateLimited,
    UnsafeArtifact,
    Unsupported,
)
from modeldist.origins.plans import plan_view
from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from tests.servers.loopback_http import Exchange, Fault, LoopbackServer
from tests.servers.modelscope import ModelScope
from tests.unit.origins.conformance import FILES, ReadRange
from tests.unit.origins.conftest import QUICK

WEIGHTS = "sub/deep/model.safetensors"
BIG = FILES[WEIGHTS]


@pytest.fixture
def hub() -> Iterator[ModelScope]:
    with ModelScope(cdn=True) as made:
        made.commit("org/model", FILES)
        yield made


def origins_for(endpoint: str, token: str | None = None) -> Origins:
    return Origins(OriginSettings(modelscope_endpoint=endpoint, modelscope_token=lambda: token, http=QUICK))


async def test_files_are_named_by_their_sha256(hub: ModelScope) -> None:
    artifact = await origins_for(hub.url).resolve("modelscope://org/model")
    assert {file.path: file.digest for file in artifact.files} == {
        path: "sha256:" + hashlib.sha256(content).hexdigest() for path, content in FILES.items()
    }
    assert (artifact.reference, artifact.tag) == ("modelscope://org/model@master", "master")
    assert artifact.repo_id != "org/model"  # which is somebody else's on Hugging Face
    assert not artifact.warnings
    assert len(hub.requests) == 1


async def test_revisions_and_names_that_need_escaping(hub: ModelScope, read_range: ReadRange) -> None:
    hub.commit("org/model", {"a b/c&d=1#?.txt": b"odd", "ü.txt": b"u"}, revision="feature/x+y")
    origins = origins_for(hub.url)
    artifact = await origins.resolve("modelscope://org/model@feature/x+y")
    reader = origins.reader(artifact)
    contents = {file.path: read_range(reader, file.digest, 0, file.size) for file in artifact.files}
    assert contents == {"a b/c&d=1#?.txt": b"odd", "ü.txt": b"u"}
    reader.close()
    assert not await origins.still(artifact, "modelscope://org/model")
    assert {view.source for view in plan_view("modelscope://org/model", artifact, 0).files} == {
        hub.url + request.path for request in hub.asked("FilePath=")
    }
    with pytest.raises(NotFound, match="@v9"):
        await origins.resolve("modelscope://org/model@v9")


async def test_a_listing_that_would_be_cut_off_is_put_together(hub: ModelScope) -> None:
    files = {f"{folder}/{number}.txt": b"%d" % number for folder in ("a", "b/c", "b/d") for number in range(1200)}
    hub.commit("org/many", {**files, "config.json": b"{}"})
    artifact = await origins_for(hub.url).resolve("modelscope://org/many")
    assert {file.path for file in artifact.files} == {*files, "config.json"}


async def test_a_folder_that_cannot_be_listed_whole_is_refused(hub: ModelScope) -> None:
    hub.commit("org/flat", {f"data/{number}.txt": b"" for number in range(3001)})
    with pytest.raises(Unsupported, match="data holds 3000 or more"):
        await origins_for(hub.url).resolve("modelscope://org/flat")


async def test_the_token_goes_to_the_hub_and_not_to_the_cdn(hub: ModelScope, read_range: ReadRange) -> None:
    hub.restrict("org/model", {"good"})
    with pytest.raises(AccessDenied) as caught:
        await origins_for(hub.url).resolve("modelscope://org/model")
    assert "MODELSCOPE_API_TOKEN" in caught.value.remedy
    origins = origins_for(hub.url, "good")
    artifact = await origins.resolve("modelscope://org/model")
    reader = origins.reader(artifact)
    weights = next(file for file in artifact.files if file.path == WEIGHTS)
    assert read_range(reader, weights.digest, 0, weights.size) == BIG
    reader.close()
    assert hub.cdn is not None and hub.cdn.requests
    assert all({"authorization", "cookie"}.isdisjoint(request.headers) for request in hub.cdn.requests)


async def test_the_token_goes_to_no_other_endpoint(hub: ModelScope, read_range: ReadRange) -> None:
    artifact = await origins_for(hub.url).resolve("modelscope://org/model")
    reader = origins_for("http://127.0.0.1:1", "secret").reader(artifact)
    assert read_range(reader, artifact.files[0].digest, 0, 2) == b'{"'
    assert {"authorization", "cookie"}.isdisjoint(hub.requests[-1].headers)
    reader.close()


async def test_a_range_costs_one_request_once_the_link_is_known(hub: ModelScope, read_range: ReadRange) -> None:
    origins = origins_for(hub.url)
    artifact = await origins.resolve("modelscope://org/model")
    weights = next(file for file in artifact.files if file.path == WEIGHTS)
    assert hub.cdn is not None
    reader = origins.reader(artifact)
    for start in range(0, 4000, 1000):
        assert read_range(reader, weights.digest, start, 1000) == BIG[start : start + 1000]
    assert (len(hub.asked("FilePath=")), len(hub.cdn.requests)) == (1, 4)
    hub.cdn.expire_links()
    assert read_range(reader, weights.digest, 0, 10) == BIG[:10]
    reader.close()


@pytest.mark.parametrize(
    "tweak",
    [{"Sha256": ""}, {"Sha256": None}, {"Sha256": "zz"}, {"Size": 0}, {"Size": -1}, {"Type": "commit"}],
    ids=str,
)
async def test_what_cannot_be_checked_is_refused(hub: ModelScope, tweak: dict[str, Any]) -> None:
    hub.tweaks["config.json"] = tweak
    with pytest.raises(OriginProtocolError, match=r"config\.json"):
        await origins_for(hub.url).resolve("modelscope://org/model")


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../b", "CONFIG.JSON", "config.json/x"])
async def test_hostile_file_names(hub: ModelScope, path: str) -> None:
    hub.tweaks["empty.txt"] = {"Path": path}
    with pytest.raises(UnsafeArtifact):
        await origins_for(hub.url).resolve("modelscope://org/model")


class Says(LoopbackServer):
    """Answers with whatever a test likes."""

    def __init__(self, said: object) -> None:
        self.said = said
        super().__init__()

    def answer(self, exchange: Exchange) -> None:
        exchange.document(self.said if isinstance(self.said, bytes) else json.dumps(self.said).encode())


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"<html>", OriginProtocolError),
        ([], OriginProtocolError),
        ({"Code": 200, "Success": True, "Data": {"Files": [{"Path": 1}]}}, OriginProtocolError),
        ({"Code": 200, "Success": True, "Data": None}, NotFound),
        ({"Code": 200, "Success": True, "Data": {"Files": None}}, NotFound),
        ({"Code": 10010101004, "Success": False, "Message": "unauthorized permission", "Data": ""}, NotFound),
        ({"Code": 403, "Success": False, "Message": "no"}, AccessDenied),
        ({"Code": 500, "Success": False, "Message": "no"}, OriginUnavailable),
    ],
    ids=str,
)
async def test_answers_that_list_nothing(said: object, error: type[Exception]) -> None:
    with Says(said) as server, pytest.raises(error) as caught:
        await origins_for(server.url).resolve("modelscope://org/model")
    assert "modelscope://org/model" in str(caught.value)


async def test_failures_that_pass_and_one_that_does_not(hub: ModelScope) -> None:
    hub.fail(Fault(status=503, times=2))
    hub.fail(Fault(drop=True))
    assert await origins_for(hub.url).resolve("modelscope://org/model")
    hub.fail(Fault(status=429, times=9))
    with pytest.raises(RateLimited) as caught:
        await origins_for(hub.url).resolve("modelscope://org/model")
    assert "MODELSCOPE_API_TOKEN" in caught.value.remedy


@pytest.mark.parametrize(
    "reference",
    ["modelscope://model", "modelscope://org/model/x", "modelscope://org/..", "modelscope://org/m@", "modelscope://"],
)
def test_references_that_are_none(reference: str) -> None:
    with pytest.raises(InvalidReference, match="ModelScope"):
        Origins().canonical(reference)


@pytest.mark.parametrize("name", ["MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN"])
async def test_the_environment_names_endpoint_and_token(
    hub: ModelScope, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.restrict("org/model", {"good"})
    monkeypatch.setenv(name, f"{hub.url}/")
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "good\n")
    artifact = await Origins(OriginSettings(http=QUICK)).resolve("modelscope://org/model")
    assert artifact.endpoint == hub.url
