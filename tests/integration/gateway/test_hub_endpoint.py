"""huggingface_hub, as it is, against the agent's Hugging Face endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from modeldist.agent.local_client import LocalAgent
from modeldist.errors import UsageError
from modeldist.scheduler.pieces import PieceLayout, piece_size_for
from tests.integration.gateway.gateway_nodes import TOKEN, Nodes, files_in, model, weights
from tests.servers.loopback_http import Exchange, Fault


@pytest.fixture
def repo(nodes: Nodes, request: pytest.FixtureRequest) -> str:
    """A model of each test's own."""
    name = f"org/{request.node.originalname.replace('_', '-')[5:60]}"
    nodes.hub.commit(name, model(name))
    return name


def hf(endpoint: str, home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from huggingface_hub.cli.hf import main; main()"]
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": "", **more}
    return subprocess.run([*program, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_a_whole_model_comes_through_the_swarm_and_is_read_once(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    def download(node: int) -> str:
        return snapshot_download(repo, endpoint=nodes.urls[node], cache_dir=tmp_path / str(node), token=False)

    with ThreadPoolExecutor() as both:
        snapshots = list(both.map(download, (0, 1)))
    for snapshot in snapshots:
        assert files_in(snapshot) == model(repo)
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") == sum(map(len, model(repo).values()))
    commit = nodes.hub.repos[repo].refs["main"]
    assert (Path(snapshots[0]).parents[1] / "refs/main").read_text() == commit
    # And both nodes have it, as if it had been pulled.
    for node in (0, 1):
        pulled = nodes.cluster.run(node, "pull", f"hf://{repo}@{commit}#weights=all")
        assert pulled.returncode == 0, pulled.stderr
        assert files_in(pulled.stdout.strip()) == model(repo)
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") == sum(map(len, model(repo).values()))


def test_hf_download_first_again_and_offline(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    first = hf(nodes.urls[0], tmp_path, "download", repo)
    assert first.returncode == 0, first.stderr
    moved = nodes.hub.body_bytes(f"/{repo}/resolve/")
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        again = hf(nodes.urls[0], tmp_path, "download", repo, **more)
        assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
    snapshot = next((tmp_path / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots").iterdir())
    assert files_in(snapshot) == model(repo)
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") == moved


def test_a_file_alone_moves_alone(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    path = hf_hub_download(repo, "config.json", endpoint=nodes.urls[0], cache_dir=tmp_path, token=False)
    assert Path(path).read_bytes() == model(repo)["config.json"]
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") == len(model(repo)["config.json"])
    verified = nodes.cluster.run(0, "verify")  # what nobody asked for is no damage
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_listings(nodes: Nodes, repo: str) -> None:
    ours, theirs = HfApi(nodes.urls[0], token=False), HfApi(nodes.hub.url, token=False)
    assert ours.list_repo_files(repo) == theirs.list_repo_files(repo)
    for api in (ours, theirs):
        assert api.repo_exists(repo)
        assert api.file_exists(repo, "config.json")
        assert not api.file_exists(repo, "absent.json")
    assert [repr(e) for e in ours.list_repo_tree(repo)] == [repr(e) for e in theirs.list_repo_tree(repo)]
    deep = [{entry.path: entry for entry in api.list_repo_tree(repo, "onnx", recursive=True)} for api in (ours, theirs)]
    assert deep[0].keys() == deep[1].keys() == {"onnx/deep", "onnx/deep/tokenizer with space.json"}
    lfs = [api.model_info(repo, files_metadata=True).siblings for api in (ours, theirs)]
    assert lfs[0] == lfs[1]
    found = ours.get_paths_info(repo, ["config.json", "onnx", "absent"])
    assert sorted(entry.path for entry in found) == ["config.json", "onnx"]
    files = HfFileSystem(endpoint=nodes.urls[0], token=False)
    assert f"{repo}/config.json" in files.ls(repo, detail=False)
    assert files.read_bytes(f"{repo}/config.json") == model(repo)["config.json"]


def test_revisions_and_a_main_that_moves(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    before = nodes.hub.repos[repo].refs["main"]
    nodes.hub.move(repo, "refs/pr/1", before)

    def main() -> dict[str, bytes]:
        return files_in(snapshot_download(repo, endpoint=nodes.urls[0], cache_dir=tmp_path, token=False))

    assert main() == model(repo)
    after = {**model(repo), "config.json": b'{"model_type": "other"}'}
    nodes.hub.commit(repo, after)
    assert main() == after
    for revision in (before, "refs/pr/1"):
        old = snapshot_download(repo, revision=revision, endpoint=nodes.urls[0], cache_dir=tmp_path, token=False)
        assert files_in(old) == model(repo)


def test_errors_are_the_clients_own(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    def download(repo: str, **more: str) -> None:
        hf_hub_download(
            repo, more.pop("file", "config.json"), endpoint=nodes.urls[0], cache_dir=tmp_path, token=False, **more
        )

    with pytest.raises(RepositoryNotFoundError):
        download("org/nobody-has-it")
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download("org/nobody-has-it", endpoint=nodes.urls[0], cache_dir=tmp_path, token=False)
    with pytest.raises(RevisionNotFoundError):
        download(repo, revision="v9")
    with pytest.raises(RevisionNotFoundError):
        HfApi(nodes.urls[0], token=False).model_info(repo, revision="v9")
    with pytest.raises(EntryNotFoundError):
        download(repo, file="absent.json")
    with pytest.raises(RepositoryNotFoundError):
        HfApi(nodes.urls[0], token=False).dataset_info("org/data")
    absent = tmp_path / f"models--{repo.replace('/', '--')}" / ".no_exist" / nodes.hub.repos[repo].refs["main"]
    assert (absent / "absent.json").exists()


def test_the_status_of_the_agent_names_it(nodes: Nodes) -> None:
    for index, url in enumerate(nodes.urls):
        assert url in nodes.cluster.run(index, "status").stdout.split()


def told(nodes: Nodes, repo: str) -> dict[str, Any]:
    """What the agent's status says of the newest download of a model."""
    status = json.loads(nodes.cluster.run(0, "status", "--json").stdout)
    rows: list[dict[str, Any]] = [row for row in status["pulls"] if row["reference"] == f"hf://{repo}"]
    return rows[-1]


def test_status_and_why_show_what_programs_fetch(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    content = model(repo)["model-00001-of-00002.safetensors"]
    held = nodes.hub.fail(Fault(path="model-00001", method="GET", hold_at=2_000_000))
    try:
        with httpx2.stream(
            "GET", f"{nodes.urls[0]}/{repo}/resolve/main/model-00001-of-00002.safetensors", timeout=60
        ) as answer:
            chunks = answer.iter_raw()
            got = next(chunks)
            live = told(nodes, repo)
            assert (live["state"], live["gateway"], live["size"]) == ("pulling", True, len(content))
            why = nodes.cluster.run(0, "why", f"hf://{repo}").stdout
            assert f"Download through the gateway {live['pull'][:12]} of hf://{repo}: pulling" in why
            assert "origin" in why
            with pytest.raises(UsageError, match="read by programs"):
                LocalAgent(Path(nodes.cluster.environment(0)["MODELDIST_SOCKET"])).cancel(live["pull"])
            held.until.set()
            assert got + b"".join(chunks) == content
    finally:
        held.until.set()
    hf_hub_download(repo, "config.json", endpoint=nodes.urls[0], cache_dir=tmp_path, token=False)
    done = told(nodes, repo)
    assert (done["pull"], done["state"], done["error"]) == (live["pull"], "done", None)
    files = {shard["path"]: (shard["done"], shard["complete"]) for shard in done["shards"]}
    assert files == {
        name: (len(model(repo)[name]), True) for name in ("config.json", "model-00001-of-00002.safetensors")
    }
    assert "done (gateway)" in nodes.cluster.run(0, "status").stdout


def test_status_shows_what_failed(nodes: Nodes, repo: str) -> None:
    nodes.hub.fail(Fault(path="model-00001", method="GET", status=404, times=100))
    with httpx2.Client(timeout=60) as client:
        assert client.get(f"{nodes.urls[0]}/{repo}/resolve/main/model-00001-of-00002.safetensors").status_code >= 400
        nodes.hub.heal()
        failed = told(nodes, repo)
        assert failed["state"] == "failed"
        assert failed["error"]["message"]
        assert client.get(f"{nodes.urls[0]}/{repo}/resolve/main/model-00001-of-00002.safetensors").status_code == 200
    again = told(nodes, repo)
    assert (again["pull"], again["state"], again["error"]) == (failed["pull"], "done", None)


@pytest.mark.parametrize("gated", [True, False])
def test_a_model_that_the_nodes_may_not_read(nodes: Nodes, repo: str, tmp_path: Path, gated: bool) -> None:
    nodes.hub.restrict(repo, ["hf_granted"], gated=gated)
    with pytest.raises(GatedRepoError, match="You may read this, but the agent or its control plane") as caught:
        snapshot_download(repo, endpoint=nodes.urls[0], cache_dir=tmp_path, token="hf_granted")
    assert caught.value.response.status_code == 403


def test_a_name_of_a_registry_that_is_not_mirrored(nodes: Nodes, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError, match=r"and not registry\.example\..*--mirror registry\.example"):
        snapshot_download("registry.example.org/model", endpoint=nodes.urls[0], cache_dir=tmp_path)


def test_a_gated_model_is_for_those_whom_the_hub_lets_in(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    nodes.hub.restrict(repo, [TOKEN, "hf_granted"])

    def download(place: str, token: str | bool) -> dict[str, bytes]:
        return files_in(snapshot_download(repo, endpoint=nodes.urls[0], cache_dir=tmp_path / place, token=token))

    with pytest.raises(GatedRepoError):
        download("none", token=False)
    assert download("granted", token="hf_granted") == model(repo)
    # All of it is here now, and for them alone.
    for token in (False, "hf_other"):
        with pytest.raises(GatedRepoError):
            download("again", token=token)
        with pytest.raises(GatedRepoError):
            hf_hub_download(
                repo,
                "model-00001-of-00002.safetensors",
                revision=nodes.hub.repos[repo].refs["main"],
                endpoint=nodes.urls[0],
                cache_dir=tmp_path / "again",
                token=token,
            )
    nodes.hub.restrict(repo, [TOKEN, "hf_granted"], gated=False)
    with pytest.raises(RepositoryNotFoundError):
        download("private", token=False)


def test_what_is_for_a_registry_is_not_shown_to_the_hub(nodes: Nodes, repo: str) -> None:
    HfApi(nodes.urls[0], token="hf_token").model_info(repo)
    HfApi(nodes.urls[0], token="somebody:secret").model_info(repo)
    shown = {request.headers.get("authorization", "") for request in nodes.hub.asked(f"/{repo}/")}
    assert "Bearer hf_token" in shown
    assert not [each for each in shown if "secret" in each]


def test_ranges(nodes: Nodes, repo: str) -> None:
    content = model(repo)["model-00001-of-00002.safetensors"]
    url = f"{nodes.urls[0]}/{repo}/resolve/main/model-00001-of-00002.safetensors"
    size = len(content)
    with httpx2.Client() as client:
        for asked, (start, stop) in {
            "bytes=0-9": (0, 10),
            "bytes=1000000-": (1_000_000, size),
            f"bytes={size - 1}-{size + 500}": (size - 1, size),
            "bytes=-7": (size - 7, size),
        }.items():
            got = client.get(url, headers={"Range": asked})
            assert (got.status_code, got.headers["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{size}")
            assert got.content == content[start:stop]
        beyond = client.get(url, headers={"Range": f"bytes={size}-"})
        assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
        for ignored in ("bytes=9-0", "bytes=0-1,5-6", "lines=1-2"):
            assert client.get(url, headers={"Range": ignored}).status_code == 200
        head = client.head(url)
        assert (head.headers["Content-Length"], head.content) == (str(size), b"")
        assert "x-xet-hash" not in head.headers
        assert client.post(url).status_code == 405
        assert client.get(url, headers={"Host": "example.com"}).status_code == 421


def test_who_goes_on_with_a_file_that_changed_gets_all_of_the_new_one(nodes: Nodes, repo: str) -> None:
    url = f"{nodes.urls[0]}/{repo}/resolve/main/config.json"
    with httpx2.Client(timeout=60) as client:
        before = client.get(url)
        going_on = {"Range": "bytes=5-", "If-Range": before.headers["ETag"]}
        same = client.get(url, headers=going_on)
        assert (same.status_code, same.content) == (206, before.content[5:])
        nodes.hub.commit(repo, {"config.json": b'{"model_type": "other"}'})
        other = client.get(url, headers=going_on)
        assert (other.status_code, other.content) == (200, b'{"model_type": "other"}')


def test_a_page_of_another_site_has_nothing_fetched(nodes: Nodes, repo: str) -> None:
    """Browsers say so of what pages ask for; programs say nothing."""
    url = f"{nodes.urls[0]}/{repo}/resolve/main/config.json"
    with httpx2.Client(timeout=60) as client:
        for site, status in (("cross-site", 403), ("same-origin", 200), ("none", 200)):
            assert client.get(url, headers={"Sec-Fetch-Site": site}).status_code == status
            if status != 200:
                assert not nodes.hub.asked(f"/{repo}/")


def test_paths_that_no_repository_has_are_not_shown_to_the_hub(nodes: Nodes, repo: str) -> None:
    with httpx2.Client(timeout=60) as client:
        for path in ("main/a%00b", "main/%2E%2E/%2E%2E/other/config.json", "main%0D%0AX:y/a"):
            refused = client.get(f"{nodes.urls[0]}/{repo}/resolve/{path}")
            assert refused.status_code == 404
            assert "nothing at" in refused.headers["X-Error-Message"]
    assert not nodes.hub.asked(f"/{repo}/")


def test_paths_that_are_asked_for_in_a_wrong_way(nodes: Nodes, repo: str) -> None:
    url = f"{nodes.urls[0]}/api/models/{repo}/paths-info/main"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with httpx2.Client(timeout=60) as client:
        for body, headers, status, said in (
            (b"{paths}", {"Content-Type": "application/json"}, 400, "paths"),
            (b'{"paths": ["\xff"]}', {"Content-Type": "application/json"}, 400, "paths"),
            (b"paths=a&" * 100_001, form, 413, "fewer"),
            (b"paths=" + b"a" * (4 << 20), form, 413, "fewer"),
        ):
            refused = client.post(url, content=body, headers=headers)
            assert refused.status_code == status
            assert said in refused.json()["error"]
        assert client.post(url, json={"paths": ["config.json"]}).json()[0]["path"] == "config.json"


def test_a_range_comes_without_the_rest(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    """As who reads a header does; then the others come, and nothing twice."""
    content = weights(repo, 40_000_000)
    nodes.hub.commit(repo, {"model.safetensors": content})
    pieces = PieceLayout(len(content), piece_size_for(len(content)))
    asked = [(0, 100), (30_000_000, 30_000_100), (8, 5_000_000), (39_000_000, 39_000_001)]
    url = f"{nodes.urls[0]}/{repo}/resolve/main/model.safetensors"
    with httpx2.Client(timeout=60) as client:
        for start, stop in asked:
            got = client.get(url, headers={"Range": f"bytes={start}-{stop - 1}"})
            assert (got.status_code, got.content) == (206, content[start:stop])
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") == pieces.bytes_of(pieces.touching(asked)) < len(content)
    files = HfFileSystem(endpoint=nodes.urls[0], token=False)
    assert files.cat_file(f"{repo}/model.safetensors", start=0, end=100) == content[:100]
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") < len(content) / 5
    pulled = nodes.cluster.run(0, "pull", f"hf://{repo}")
    assert pulled.returncode == 0, pulled.stderr
    whole = hf_hub_download(repo, "model.safetensors", endpoint=nodes.urls[1], cache_dir=tmp_path, token=False)
    assert files_in(pulled.stdout.strip())["model.safetensors"] == Path(whole).read_bytes() == content
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") == len(content)


def test_ranges_of_a_file_that_is_read_bit_by_bit(nodes: Nodes, repo: str) -> None:
    content = weights(repo, 12_000_000)
    nodes.hub.commit(repo, {"model.safetensors": content})
    files = HfFileSystem(endpoint=nodes.urls[0], token=False)
    with files.open(f"{repo}/model.safetensors", block_size=1_000_000) as file:
        assert file.read() == content
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") == len(content)


def test_ranges_on_one_connection_while_the_rest_does_not_come(nodes: Nodes, repo: str) -> None:
    content = model(repo)["model-00001-of-00002.safetensors"]
    url = f"{nodes.urls[0]}/{repo}/resolve/main/model-00001-of-00002.safetensors"
    held = nodes.hub.fail(Fault(path="model-00001", method="GET", hold_at=2_000_000))
    try:
        one = httpx2.Limits(max_connections=1)
        with httpx2.stream("GET", url, timeout=60) as whole, httpx2.Client(timeout=60, limits=one) as client:
            next(whole.iter_raw())
            for start in (0, 1000, 100_000):
                got = client.get(url, headers={"Range": f"bytes={start}-{start + 99}"})
                assert (got.status_code, got.content) == (206, content[start : start + 100])
    finally:
        held.until.set()


def test_the_beginning_is_there_before_the_end(nodes: Nodes, repo: str) -> None:
    """A client that hears nothing for ten seconds gives up."""
    content = model(repo)["model-00001-of-00002.safetensors"]
    held = nodes.hub.fail(Fault(path="model-00001", method="GET", hold_at=2_000_000))
    url = f"{nodes.urls[0]}/{repo}/resolve/main/model-00001-of-00002.safetensors"
    try:
        with httpx2.stream("GET", url, timeout=60) as answer:
            chunks = answer.iter_raw()
            got = next(chunks)
            held.until.set()
            assert got + b"".join(chunks) == content
    finally:
        held.until.set()


def test_an_origin_that_breaks_off_is_resumed(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    nodes.hub.fail(Fault(path="model-00002", method="GET", cut_at=1_000_000))
    got = snapshot_download(repo, endpoint=nodes.urls[0], cache_dir=tmp_path, token=False)
    assert files_in(got) == model(repo)


def test_wrong_bytes_never_make_a_whole_file(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    """huggingface_hub looks at sizes only, and takes 200 to a Range for a reason to begin anew."""
    file = "model-00001-of-00002.safetensors"
    held = nodes.hub.fail(Fault(path="model-00001", method="GET", garble=True, hold_at=2_000_000))
    url = f"{nodes.urls[0]}/{repo}/resolve/main/{file}"
    got = b""
    try:
        with httpx2.stream("GET", url, timeout=60) as answer, pytest.raises(httpx2.RemoteProtocolError):
            for chunk in answer.iter_raw():
                got += chunk
                held.until.set()
    finally:
        held.until.set()
    assert 0 < len(got) < len(model(repo)[file])
    anew = httpx2.get(url, headers={"Range": f"bytes={len(got)}-"}, timeout=60)
    assert (anew.status_code, anew.content) == (200, model(repo)[file])
    whole = hf_hub_download(repo, file, endpoint=nodes.urls[0], cache_dir=tmp_path, token=False)
    assert Path(whole).read_bytes() == model(repo)[file]


def test_a_client_that_leaves_and_comes_back(nodes: Nodes, repo: str) -> None:
    content = weights(f"{repo}1")
    url = f"{nodes.urls[0]}/{repo}/resolve/main/model-00001-of-00002.safetensors"
    with httpx2.stream("GET", url, timeout=60) as answer:
        got = next(answer.iter_raw())
    rest = httpx2.get(url, headers={"Range": f"bytes={len(got)}-"}, timeout=60)
    assert got + rest.content == content
    assert nodes.hub.body_bytes(f"/{repo}/resolve/main/") == 0
    assert nodes.hub.body_bytes(f"/{repo}/resolve/") == len(content)


def test_a_hub_that_is_away_is_not_taken_for_a_missing_model(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    nodes.hub.fail(Fault(path=f"/{repo}/", status=503, times=1000))
    try:
        with pytest.raises(HfHubHTTPError) as raised:
            HfApi(nodes.urls[0], token=False).model_info(repo)
        assert raised.value.response.status_code == 502
        assert "503" in str(raised.value)
    finally:
        nodes.hub.heal()
    got = snapshot_download(repo, endpoint=nodes.urls[0], cache_dir=tmp_path, token=False)
    assert files_in(got) == model(repo)


def test_a_hub_that_is_slow_keeps_nobody_from_what_is_here(
    nodes: Nodes, repo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{nodes.urls[0]}/{repo}/resolve/{nodes.hub.repos[repo].refs['main']}/config.json"
    assert httpx2.get(url, timeout=60).content == model(repo)["config.json"]
    others, arrived, answering = 36, Semaphore(0), Event()  # more than the loop has threads
    answer = nodes.hub.answer

    def slow(exchange: Exchange) -> None:
        if "/org/slow-" in exchange.path:
            arrived.release()
            assert answering.wait(60)
        answer(exchange)

    monkeypatch.setattr(nodes.hub, "answer", slow)
    with ThreadPoolExecutor(others) as asking:
        asked = [
            asking.submit(httpx2.get, f"{nodes.urls[0]}/org/slow-{number}/resolve/main/config.json", timeout=60)
            for number in range(others)
        ]
        try:
            assert all(arrived.acquire(timeout=60) for _ in asked)
            assert httpx2.get(url, timeout=60).content == model(repo)["config.json"]
            assert not any(each.done() for each in asked)
        finally:
            answering.set()
    assert {each.result().status_code for each in asked} == {404}


def test_a_hub_that_has_gone_since(nodes: Nodes, repo: str, tmp_path: Path) -> None:
    """Whom it let in before is let in, to what is here; others are not."""
    url = nodes.urls[0]
    snapshot_download(repo, endpoint=url, cache_dir=tmp_path / "before", token=False)
    nodes.hub.fail(Fault(path=f"/{repo}/", status=503, times=1000))
    try:
        got = snapshot_download(repo, endpoint=url, cache_dir=tmp_path / "after", token=False)
        assert files_in(got) == model(repo)
        with pytest.raises(HfHubHTTPError, match="503"):
            HfApi(url, token="hf_other").model_info(repo)
    finally:
        nodes.hub.heal()
