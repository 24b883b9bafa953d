"""huggingface_hub, as it is, gets models of registries from the agent's Hugging Face endpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, HfFileSystem, close_session, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from modeldist.origins.repo_ids import of_repository
from tests.integration.gateway.gateway_nodes import files_in
from tests.integration.gateway.oci_mirrors import Mirrors
from tests.servers import faults
from tests.servers.artifacts import sha256
from tests.servers.registry import PASSWORD, USERNAME


@pytest.fixture(autouse=True)
def no_connections_are_kept() -> Iterator[None]:
    yield
    close_session()


def named(host: str, repository: str) -> str:
    organisation, _, name = repository.partition("/")
    return f"{host.replace(':', '-')}.{organisation}/{name}"


def published(mirrors: Mirrors, folder: Path, reference: str) -> dict[str, bytes]:
    """A model that the registry has; its files."""
    files = {
        "config.json": b'{"model_type": "bert"}',
        "model.safetensors": os.urandom(3_000_000),
        "onnx/model.onnx": os.urandom(100_000),
    }
    for path, content in files.items():
        (folder / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "model" / path).write_bytes(content)
    for command in (
        ["build", str(folder / "model"), "-t", reference, "-o", str(folder / "layout")],
        ["push", reference, "--layout", str(folder / "layout")],
    ):
        done = mirrors.cluster.run(0, *command)
        assert done.returncode == 0, done.stderr
    return files


def test_a_model_of_a_registry_is_read_once(mirrors: Mirrors, tmp_path: Path) -> None:
    host = mirrors.registry.host
    files = published(mirrors, tmp_path, f"{host}/org/hubbed:v1")
    repo = named(host, "org/hubbed")
    mirrors.registry.clear_log()

    def download(node: int) -> str:
        return snapshot_download(
            repo, revision="v1", endpoint=mirrors.urls[node], cache_dir=tmp_path / str(node), token=False
        )

    with ThreadPoolExecutor() as both:
        for snapshot in both.map(download, (0, 1)):
            assert files_in(snapshot) == files
    sent = [access for access in mirrors.registry.access_log() if access.method == "GET" and "/blobs/" in access.path]
    assert sum(access.bytes for access in sent if access.bytes > 50_000) == 3_100_000
    # Under the same name as what was pulled.
    pulled = mirrors.cluster.run(1, "pull", f"{host}/org/hubbed:v1")
    assert pulled.returncode == 0, pulled.stderr
    assert Path(pulled.stdout.strip()).parents[1].name == f"models--{repo.replace('/', '--')}"
    api = HfApi(mirrors.urls[0], token=False)
    about = api.model_info(repo, revision="v1")
    assert (about.id, about.sha) == (repo, Path(pulled.stdout.strip()).name)
    assert sorted(api.list_repo_files(repo, revision=about.sha)) == sorted(files)
    there = HfFileSystem(endpoint=mirrors.urls[0], token=False)
    assert there.read_bytes(f"{repo}@v1/config.json") == files["config.json"]


def test_a_deeper_repository_has_the_name_of_its_snapshot(mirrors: Mirrors, tmp_path: Path) -> None:
    reference = f"{mirrors.registry.host}/org/team/deep:v1"
    files = published(mirrors, tmp_path, reference)
    repo = of_repository(mirrors.registry.host, "org/team/deep")
    got = snapshot_download(repo, revision="v1", endpoint=mirrors.urls[0], cache_dir=tmp_path / "hub", token=False)
    assert files_in(got) == files
    with pytest.raises(RevisionNotFoundError):
        HfApi(mirrors.urls[0], token=False).model_info(repo)
    with pytest.raises(HfHubHTTPError, match="502"):  # another hash: none of the registry's, and there is no hub
        HfApi(mirrors.urls[0], token=False).model_info(f"{repo[:-8]}{'0' * 8}", revision="v1")


def test_a_tag_that_moves_and_main(mirrors: Mirrors, tmp_path: Path) -> None:
    host = mirrors.registry.host
    repo = named(host, "org/moves")

    def main() -> dict[str, bytes]:
        return files_in(snapshot_download(repo, endpoint=mirrors.urls[0], cache_dir=tmp_path, token=False))

    before = published(mirrors, tmp_path / "one", f"{host}/org/moves:latest")
    assert main() == before
    after = published(mirrors, tmp_path / "two", f"{host}/org/moves:latest")
    assert main() == after != before


def test_what_is_not_there(mirrors: Mirrors, tmp_path: Path) -> None:
    host, url = mirrors.registry.host, mirrors.urls[0]
    published(mirrors, tmp_path, f"{host}/org/there:v1")

    def download(repo: str, file: str, revision: str) -> None:
        hf_hub_download(repo, file, revision=revision, endpoint=url, cache_dir=tmp_path / "cache", token=False)

    with pytest.raises(RepositoryNotFoundError):
        download(named(host, "org/nobody"), "config.json", "v1")
    for revision in ("v9", "refs/pr/1", "0" * 40):
        with pytest.raises(RevisionNotFoundError):
            download(named(host, "org/there"), "config.json", revision)
    with pytest.raises(EntryNotFoundError):
        download(named(host, "org/there"), "absent.json", "v1")


def test_a_private_one_is_for_those_whom_the_registry_lets_in(mirrors: Mirrors, tmp_path: Path) -> None:
    private = mirrors.private["token"]
    files = published(mirrors, tmp_path, f"{private.host}/org/private:v1")
    repo = named(private.host, "org/private")

    def download(token: str | bool) -> dict[str, bytes]:
        snapshot = snapshot_download(
            repo, revision="v1", endpoint=mirrors.urls[0], cache_dir=tmp_path / str(token)[:9], token=token
        )
        return files_in(snapshot)

    with pytest.raises(GatedRepoError):
        download(False)
    assert download(f"{USERNAME}:{PASSWORD}") == files
    for token in (False, "hf_token", f"{USERNAME}:wrong"):  # all of it is here now
        with pytest.raises(GatedRepoError):
            HfApi(mirrors.urls[0], token=token).model_info(repo, revision="v1")


def test_a_model_may_not_take_files_from_another_repository(mirrors: Mirrors) -> None:
    """Registries that look at no blobs take any manifest; this node has the blob, of another repository."""
    files = {"config.json": b"{}", "secret.gguf": os.urandom(1000)}
    for name in ("org/kept", "org/taken"):
        mirrors.faulty.add_model(name, "v1", files)
    with mirrors.faulty.lock:
        mirrors.faulty.repositories["org/taken"].discard(sha256(files["secret.gguf"]))

    def read(repository: str, file: str) -> httpx2.Response:
        repo = named(mirrors.faulty.host, repository)
        return mirrors.web.get(f"{mirrors.urls[0]}/{repo}/resolve/v1/{file}")

    assert read("org/kept", "secret.gguf").content == files["secret.gguf"]
    stolen = read("org/taken", "secret.gguf")
    assert (stolen.status_code, stolen.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert read("org/taken", "config.json").content == files["config.json"]


def test_a_registry_that_is_away(mirrors: Mirrors) -> None:
    repo = named(mirrors.faulty.host, "org/away")
    mirrors.faulty.inject(faults.unavailable())
    try:
        with pytest.raises(HfHubHTTPError) as raised:
            HfApi(mirrors.urls[0], token=False).model_info(repo, revision="v1")
    finally:
        mirrors.faulty.heal()
    assert raised.value.response.status_code == 502


def test_other_registries_have_no_names_here(mirrors: Mirrors) -> None:
    """They are asked for on the hub, and there is none."""
    with pytest.raises(HfHubHTTPError) as raised:
        HfApi(mirrors.urls[0], token=False).model_info("127.0.0.1-9.org/model")
    assert "127.0.0.1:9/org/model" not in str(raised.value)
    assert raised.value.response.status_code == 502
