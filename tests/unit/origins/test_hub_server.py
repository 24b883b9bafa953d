"""The Hugging Face shaped test server is good enough for huggingface_hub itself."""

from __future__ import annotations

import hashlib
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault

FILES = {"config.json": b"{}", "sub/deep/weights.safetensors": bytes(range(256)) * 4000, "README.md": b"# hello"}


@pytest.fixture(autouse=True)
def _session() -> Iterator[None]:
    yield
    huggingface_hub.close_session()


@pytest.mark.parametrize("cdn", [False, True])
def test_snapshot_download_works(cdn: bool, tmp_path: Path) -> None:
    with Hub(cdn=cdn) as hub:
        sha = hub.commit("org/model", FILES)
        found = Path(snapshot_download("org/model", endpoint=hub.url, cache_dir=tmp_path, token=False))
        assert found.name == sha
        assert {str(p.relative_to(found)): p.read_bytes() for p in found.rglob("*") if p.is_file()} == FILES


def test_info_and_paged_tree() -> None:
    with Hub(page=2) as hub:
        sha = hub.commit("org/model", FILES)
        api = HfApi(endpoint=hub.url, token=False)
        info = api.model_info("org/model", files_metadata=True)
        assert info.sha == sha
        weights = next(s for s in info.siblings or [] if s.lfs)
        assert weights.lfs is not None
        assert weights.lfs.sha256 == hashlib.sha256(FILES["sub/deep/weights.safetensors"]).hexdigest()
        paths = {e.path for e in api.list_repo_tree("org/model", recursive=True)}
        assert paths == {*FILES, "sub", "sub/deep"}
        assert {e.path for e in api.list_repo_tree("org/model", "sub")} == {"sub/deep"}


def test_refs_move_and_errors_have_codes() -> None:
    with Hub() as hub:
        first = hub.commit("org/model", {"a": b"1"})
        second = hub.commit("org/model", {"a": b"2"})
        api = HfApi(endpoint=hub.url, token=False)
        assert api.model_info("org/model").sha == second
        hub.move("org/model", "main", first)
        assert api.model_info("org/model").sha == first
        with pytest.raises(RevisionNotFoundError):
            api.model_info("org/model", revision="nope")
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("org/none")
        hub.restrict("org/model", {"hf_good"})
        with pytest.raises(GatedRepoError):
            api.model_info("org/model")
        assert HfApi(endpoint=hub.url, token="hf_good").model_info("org/model").sha == first


def _get(url: str, **headers: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.status, answer.read()


def test_ranges_faults_and_the_log(tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(b"0123456789" * 100)
    with Hub() as hub:
        sha = hub.commit("org/model", {"big.bin": big})
        url = f"{hub.url}/org/model/resolve/{sha}/big.bin"
        assert _get(url, Range="bytes=5-14") == (206, b"5678901234")
        assert hub.body_bytes("big.bin") == 10
        assert hub.requests[-1].range == (5, 14)
        hub.fail(Fault(status=429, headers={"Retry-After": "3"}))
        with pytest.raises(urllib.error.HTTPError) as caught:
            _get(url)
        assert (caught.value.code, caught.value.headers["Retry-After"]) == (429, "3")
        caught.value.close()
        hub.fail(Fault(garble=True))
        assert _get(url, Range="bytes=0-2")[1] == bytes([ord("0") ^ 0xFF]) + b"12"
        hub.fail(Fault(ignore_range=True))
        assert _get(url, Range="bytes=0-2")[0] == 200


def test_a_held_answer_goes_on_when_told() -> None:
    with Hub() as hub:
        hub.commit("org/model", {"a.bin": b"x" * 100})
        fault = hub.fail(Fault(hold_at=40))
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(_get(f"{hub.url}/org/model/resolve/main/a.bin")[1]))
        reader.start()
        assert fault.held.wait(10)
        assert hub.body_bytes("a.bin") == 40
        fault.until.set()
        reader.join(10)
        assert got == [b"x" * 100]
