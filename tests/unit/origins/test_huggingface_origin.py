"""What is particular to Hugging Face repositories: digests, tokens, errors, what a read costs."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Iterator

import pytest

from modeldist.errors import (
    AccessDenied,
    AuthenticationRequired,
    ModeldistError,
    NotFound,
    OriginProtocolError,
    OriginUnavailable,
    RateLimited,
    UnsafeArtifact,
)
from modeldist.origins.huggingface import HuggingFaceOrigin
from modeldist.origins.router import Origins
from modeldist.origins.settings import HttpSettings, OriginSettings
from tests.servers.hub import Hub
from tests.servers.loopback_http import Exchange, Fault, LoopbackServer
from tests.unit.origins.conformance import FILES, ReadRange
from tests.unit.origins.conftest import QUICK

WEIGHTS = "sub/deep/model.safetensors"
BIG = FILES[WEIGHTS]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(cdn=True) as made:
        made.commit("org/model", FILES)
        yield made


def origins_for(endpoint: str, token: str | None = None) -> Origins:
    return Origins(OriginSettings(hf_endpoint=endpoint, hf_token=lambda: token, http=QUICK))


async def test_digests_are_the_hubs_own(hub: Hub) -> None:
    artifact = await origins_for(hub.url).resolve("hf://org/model")
    digests = {file.path: file.digest for file in artifact.files}
    assert digests[WEIGHTS] == "sha256:" + hashlib.sha256(BIG).hexdigest()
    assert digests["empty.txt"] == "git-sha1:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert artifact.revision == hub.repos["org/model"].refs["main"]
    assert artifact.reference == f"hf://org/model@{artifact.revision}"
    assert (artifact.repo_id, artifact.tag, artifact.endpoint) == ("org/model", "main", hub.url)
    assert not artifact.warnings


async def test_revisions(hub: Hub) -> None:
    first = hub.repos["org/model"].refs["main"]
    second = hub.commit("org/model", {"config.json": b"2"}, ref="refs/pr/1")
    origins = origins_for(hub.url)
    assert (await origins.resolve("hf://org/model@refs/pr/1")).revision == second
    pinned = await origins.resolve(f"hf://org/model@{first}")
    assert (pinned.revision, pinned.tag) == (first, "")
    asked = len(hub.requests)
    assert await origins.still(pinned, f"hf://org/model@{first}")
    assert not await origins.still(pinned, f"hf://org/model@{second}")
    assert len(hub.requests) == asked


async def test_still_is_one_head(hub: Hub) -> None:
    origins = origins_for(hub.url)
    artifact = await origins.resolve("hf://org/model")
    asked = len(hub.requests)
    assert await origins.still(artifact, "hf://org/model")
    assert [r.method for r in hub.requests[asked:]] == ["HEAD"]
    hub.commit("org/model", {"other.json": b"{}"})  # the file asked about is gone
    assert not await origins.still(artifact, "hf://org/model")


async def test_the_token_goes_to_the_hub_and_not_to_the_cdn(hub: Hub, read_range: ReadRange) -> None:
    hub.restrict("org/model", {"hf_good"})
    origins = origins_for(hub.url, "hf_good")
    artifact = await origins.resolve("hf://org/model")
    weights = next(file for file in artifact.files if file.path == WEIGHTS)
    reader = origins.reader(artifact)
    assert read_range(reader, weights.digest, 0, weights.size) == BIG
    assert hub.cdn is not None
    assert all("authorization" not in request.headers for request in hub.cdn.requests)
    reader.close()


async def test_the_token_goes_to_no_other_endpoint(hub: Hub, read_range: ReadRange) -> None:
    artifact = await origins_for(hub.url).resolve("hf://org/model")
    elsewhere = origins_for("http://127.0.0.1:1", "hf_secret")
    reader = elsewhere.reader(artifact)
    assert read_range(reader, artifact.files[0].digest, 0, 2) == b'{"'
    assert "authorization" not in hub.requests[-1].headers
    reader.close()


async def test_a_range_costs_one_request_once_the_link_is_known(hub: Hub, read_range: ReadRange) -> None:
    origins = origins_for(hub.url)
    artifact = await origins.resolve("hf://org/model")
    weights = next(file for file in artifact.files if file.path == WEIGHTS)
    assert hub.cdn is not None
    reader = origins.reader(artifact)
    for start in range(0, 5000, 1000):
        assert read_range(reader, weights.digest, start, 1000) == BIG[start : start + 1000]
    assert (len(hub.asked("/resolve/")), len(hub.cdn.requests)) == (1, 5)
    hub.cdn.expire_links()
    assert read_range(reader, weights.digest, 9000, 1000) == BIG[9000:10000]
    assert (len(hub.asked("/resolve/")), len(hub.cdn.requests)) == (2, 7)
    reader.close()


async def test_the_endpoint_and_token_of_the_environment(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.restrict("org/model", {"hf_env"})
    monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    assert (await Origins(OriginSettings(http=QUICK)).resolve("hf://org/model")).endpoint == hub.url


# --- refusals ------------------------------------------------------------------------------------------------------


async def test_gated_and_private_repositories(hub: Hub) -> None:
    hub.restrict("org/model", {"hf_good"}, gated=True)
    with pytest.raises(AuthenticationRequired, match="hf://org/model") as caught:
        await origins_for(hub.url).resolve("hf://org/model")
    assert "HF_TOKEN" in caught.value.remedy
    with pytest.raises(AccessDenied) as denied:
        await origins_for(hub.url, "hf_other").resolve("hf://org/model")
    assert f"{hub.url}/org/model" in denied.value.remedy
    hub.restrict("org/model", {"hf_good"}, gated=False)
    with pytest.raises(NotFound, match="hf://org/model") as missing:
        await origins_for(hub.url).resolve("hf://org/model")
    assert "private" in missing.value.remedy


async def test_losing_access_is_noticed_when_asking_again(hub: Hub) -> None:
    origins = origins_for(hub.url)
    artifact = await origins.resolve("hf://org/model")
    hub.restrict("org/model", {"hf_good"})
    with pytest.raises(AuthenticationRequired):
        await origins.still(artifact, "hf://org/model")


async def test_an_unknown_revision(hub: Hub) -> None:
    with pytest.raises(NotFound, match="no such revision"):
        await origins_for(hub.url).resolve("hf://org/model@nope")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=401, headers={"X-Error-Message": "Invalid credentials in Authorization header"}, times=9),
         AuthenticationRequired),
        (Fault(status=403, times=9), AccessDenied),
        (Fault(status=403, headers={"X-Error-Message": "Access to this resource is disabled."}, times=9), AccessDenied),
        (Fault(status=429, headers={"Retry-After": "3600"}), RateLimited),
        (Fault(status=502, times=9), OriginUnavailable),
        (Fault(drop=True, times=9), OriginUnavailable),
    ],
)  # fmt: skip
async def test_refusals(hub: Hub, fault: Fault, error: type[ModeldistError]) -> None:
    hub.fail(fault)
    with pytest.raises(error, match="hf://org/model") as caught:
        await origins_for(hub.url).resolve("hf://org/model")
    assert caught.value.remedy


async def test_a_passing_failure_is_waited_out(hub: Hub) -> None:
    hub.fail(Fault(status=429, headers={"Retry-After": "0"}))
    hub.fail(Fault(status=503))
    assert (await origins_for(hub.url).resolve("hf://org/model")).files


@pytest.mark.parametrize("away", ["refuses", "has no name"])
async def test_a_hub_that_never_answered_is_not_asked_for_long(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with LoopbackServer() as gone:
        endpoint = gone.url
    if away == "has no name":
        monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    for_ever = HttpSettings(retries=40, backoff=0.01, backoff_cap=600, answer_patience=3600)
    with pytest.raises(OriginUnavailable, match="cannot be reached"):
        await Origins(OriginSettings(hf_endpoint=endpoint, http=for_ever)).resolve("hf://org/model")


async def test_offline_mode_is_respected(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OriginUnavailable, match="offline mode") as caught:
        await origins_for(hub.url).resolve("hf://org/model")
    assert "HF_HUB_OFFLINE" in caught.value.remedy


async def test_hostile_file_names(hub: Hub) -> None:
    hub.commit("org/bad", {"../../etc/passwd": b"x"})
    with pytest.raises(UnsafeArtifact, match="passwd"):
        await origins_for(hub.url).resolve("hf://org/bad")


async def test_an_empty_repository(hub: Hub) -> None:
    hub.commit("org/empty", {})
    with pytest.raises(NotFound, match="empty"):
        await origins_for(hub.url).resolve("hf://org/empty")


class Mirror(LoopbackServer):
    """Answers model info with whatever a test likes; the tree as a hub does."""

    def __init__(self, info: object, tree: object = ()) -> None:
        self.info, self.tree = info, tree
        super().__init__()

    def answer(self, exchange: Exchange) -> None:
        said = self.tree if "/tree/" in exchange.url_path else self.info
        exchange.document(json.dumps(said).encode())


async def test_a_mirror_without_sizes_is_asked_for_the_tree() -> None:
    info = {"id": "org/model", "sha": "a" * 40, "siblings": [{"rfilename": "config.json"}]}
    tree = [
        {"type": "file", "path": "config.json", "size": 2, "oid": "b" * 40},
        {"type": "directory", "path": "sub", "size": 0, "oid": "c" * 40},
        {"type": "file", "path": "sub/w.bin", "size": 9, "oid": "d" * 40,
         "lfs": {"oid": "e" * 64, "size": 9, "pointerSize": 130}},
    ]  # fmt: skip
    with Mirror(info, tree) as mirror:
        artifact = await origins_for(mirror.url).resolve("hf://org/model")
    assert {file.path: file.digest for file in artifact.files} == {
        "config.json": "git-sha1:" + "b" * 40,
        "sub/w.bin": "sha256:" + "e" * 64,
    }


def _sibling(**more: object) -> dict[str, object]:
    return {"rfilename": "a", "size": 1, "blobId": "b" * 40, **more}


@pytest.mark.parametrize(
    "info",
    [
        "not an object",
        {"id": "org/model", "siblings": [_sibling()]},
        {"id": "org/model", "sha": "main", "siblings": [_sibling()]},
        {"id": "org/model", "sha": "a" * 40, "siblings": [_sibling(blobId="zz")]},
        {"id": "org/model", "sha": "a" * 40, "siblings": [_sibling(size=-1)]},
    ],
)
async def test_answers_that_are_no_hubs(info: object) -> None:
    with Mirror(info) as mirror, pytest.raises(OriginProtocolError) as caught:
        await origins_for(mirror.url).resolve("hf://org/model")
    assert "HF_ENDPOINT" in caught.value.remedy


def test_only_hub_references_match() -> None:
    matches: Callable[[str], bool] = Origins().origin_for("hf://org/model").matches
    assert matches("hf://org/model") and not matches("org/model")
    assert HuggingFaceOrigin.__doc__
