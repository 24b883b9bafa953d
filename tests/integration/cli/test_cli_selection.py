"""A part of a model: planned, pulled, listed, verified, removed; and the bytes that a real registry served for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.cluster import Cluster, finish
from tests.servers.hub import Hub
from tests.servers.registry import Registry
from tests.servers.shell import Shell

FILES: dict[str, bytes] = {
    "README.md": b"# A model\n" * 100,
    "config.json": b'{"model_type": "tiny"}',
    "generation_config.json": b'{"temperature": 1}' + b" " * 3000,
    "model-00001-of-00002.safetensors": os.urandom(700_000),
    "model-00002-of-00002.safetensors": os.urandom(600_000),
    "original/consolidated.00.pth": os.urandom(1_300_000),
    "original/params.json": b"{}  ",
}
RANKS: dict[str, bytes] = {
    "config.json": b'{"model_type": "tiny"}',
    **{
        f"model-rank-{rank}-part-{part}.safetensors": os.urandom(200_000 + rank) for rank in range(2) for part in (0, 1)
    },
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        publisher = Shell(tmp_path_factory.mktemp("publisher"), MODELDIST_REGISTRY=registry.host)
        for name, files in (("model", FILES), ("ranks", RANKS)):
            folder = tmp_path_factory.mktemp(name)
            for path, content in files.items():
                (folder / path).parent.mkdir(exist_ok=True)
                (folder / path).write_bytes(content)
            for command in (("build", str(folder), "-t", f"org/{name}:v1"), ("push", f"org/{name}:v1")):
                done = publisher.run(*command)
                assert done.returncode == 0, done.stderr
        yield registry


@pytest.fixture
def reference(registry: Registry) -> str:
    registry.clear_log()
    return f"{registry.host}/org/model:v1"


def files_in(path: str | Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in Path(path).rglob("*") if file.is_file()}


def small_bytes(registry: Registry, reference: str, shell: Shell) -> int:
    """What resolving costs in blobs: the artifact's config and its chunk table."""
    before = registry.blob_bytes()
    shell.run("plan", reference)
    return registry.blob_bytes() - before


def test_only_json_moves_only_json(shell: Shell, registry: Registry, reference: str) -> None:
    config = small_bytes(registry, reference, shell)
    registry.clear_log()
    done = shell.run("pull", reference, "--only", "*.json", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    wanted = {name: content for name, content in FILES.items() if name.endswith(".json") and "/" not in name}
    assert files_in(result["path"]) == wanted
    size = sum(map(len, wanted.values()))
    assert (result["size"], result["origin"], result["peers"], result["local"]) == (size, size, 0, 0)
    assert (result["needed"], result["whole"]) == (size, sum(map(len, FILES.values())))
    assert registry.blob_bytes() == size + config


def test_a_later_pull_of_everything_fetches_only_the_rest(shell: Shell, reference: str) -> None:
    part = shell.pull(reference, "--only", "*.json")
    whole = shell.pull_json(reference)
    usual = {name: content for name, content in FILES.items() if "consolidated" not in name}
    assert files_in(whole["path"]) == usual
    assert whole["local"] == sum(len(c) for n, c in usual.items() if n.endswith(".json") and "/" not in n)
    assert whole["origin"] + whole["local"] == sum(map(len, usual.values()))
    assert whole["path"] != str(part)
    assert set(files_in(part)) == {"config.json", "generation_config.json"}
    refs = {ref.name: ref.read_text() for ref in (part.parents[1] / "refs").iterdir()}
    assert refs == {"v1": Path(whole["path"]).name}


def test_a_part_is_here_once_it_was_pulled(shell: Shell, registry: Registry, reference: str) -> None:
    first = shell.pull(reference, "--only", "*.json")
    registry.clear_log()
    assert shell.pull(reference, "--only", "*.json") == first
    assert [access.method for access in registry.access_log()] == ["HEAD"]
    assert shell.pull(reference, "--only", "*.json", "--offline") == first
    said = shell.run("pull", "-v", reference, "--only", "*.json").stderr
    assert "#only=*.json: 3.04 kB of 2.60 MB in" in said
    assert "is not in this node's store" in shell.fails(18, "pull", "--offline", reference)


def test_a_part_is_listed_verified_and_removed_by_name(shell: Shell, reference: str) -> None:
    part = f"{reference}#only=*.json"
    path = shell.pull(reference, "--only", "*.json")
    whole = shell.pull(reference)
    rows = {row["references"][0]: row for row in json.loads(shell.run("ls", "--json").stdout)}
    assert set(rows) == {reference, part}
    assert (rows[part]["path"], rows[part]["files"]) == (str(path), 2)
    assert "2 files" not in shell.run("verify", reference).stdout
    assert shell.run("verify", part).returncode == 0
    assert shell.run("pin", part).returncode == 0
    assert shell.run("rm", part).returncode == 0
    assert not path.exists()
    assert set(files_in(whole)) == {name for name in FILES if "consolidated" not in name}
    assert shell.run("verify", reference).returncode == 0


def test_removing_the_whole_leaves_a_part(shell: Shell, reference: str) -> None:
    path = shell.pull(reference, "--kind", "doc")
    shell.pull(reference)
    assert shell.run("rm", reference).returncode == 0
    assert files_in(path) == {"README.md": FILES["README.md"]}
    assert shell.run("verify").returncode == 0


def test_the_same_weights_come_twice_only_when_asked(shell: Shell, reference: str) -> None:
    done = shell.run("pull", "-v", reference)
    assert "Left out original/consolidated.00.pth" in done.stderr
    assert files_in(shell.pull(reference, "--weights", "all")) == FILES
    consolidated = files_in(shell.pull(reference, "--weights", "consolidated"))
    assert set(consolidated) == {name for name in FILES if not name.startswith("model-0")}


def test_a_rank_of_sharded_state_moves_only_its_files(shell: Shell, registry: Registry, reference: str) -> None:
    reference = reference.replace("model:", "ranks:")
    config = small_bytes(registry, reference, shell)
    registry.clear_log()
    path = shell.pull(reference, "--rank", "tp=1/2")
    wanted = {name: content for name, content in RANKS.items() if "rank-0" not in name}
    assert files_in(path) == wanted
    assert registry.blob_bytes() == sum(map(len, wanted.values())) + config
    assert "for 2 ranks" in shell.fails(2, "pull", "--rank", "tp=1/4", reference)


def test_a_part_is_extracted_by_the_name_that_ls_gives_it(shell: Shell, reference: str, tmp_path: Path) -> None:
    part = f"{reference}#only=*.json"
    assert "modeldist fetch" not in shell.fails(4, "extract", part, "-o", str(tmp_path / "out"))
    path = shell.pull(reference, "--only", "*.json")
    assert shell.run("extract", part, "-o", str(tmp_path / "out")).returncode == 0
    assert files_in(tmp_path / "out") == files_in(path)
    gone = shell.run("gc", "--max-age", "0").stdout
    assert "#only=*.json: removed" in gone and "1 model, " in gone


def test_a_rank_may_be_given_in_pieces(shell: Shell, reference: str) -> None:
    done = shell.run("plan", reference.replace("model:", "ranks:"), "--rank", "tp=1/2", "--rank", "pp=0/1", "--json")
    assert json.loads(done.stdout)["selection"] == "rank=tp=1/2", done.stderr


def test_a_plan_says_what_would_move(shell: Shell, registry: Registry, reference: str) -> None:
    done = shell.run("plan", reference, "--only", "*.json", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    wanted = {name: len(content) for name, content in FILES.items() if name.endswith(".json") and "/" not in name}
    assert {file["path"]: file["needed"] for file in plan["files"]} == wanted
    assert plan["moved"] == plan["needed"]
    assert (plan["needed"], plan["size"]) == (sum(wanted.values()), sum(map(len, FILES.values())))
    assert plan["selection"] == "only=*.json"
    assert f"@{plan['whole']}#only=*.json" in plan["resolved"]
    assert all(file["source"].startswith(registry.url) for file in plan["files"])
    assert not [access for access in registry.access_log() if access.blob in {f["digest"] for f in plan["files"]}]
    shown = shell.run("plan", f"{reference}#only=*.json").stdout
    assert "generation_config.json" in shown and "are needed, in 2 files" in shown


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--rank", "tp=4/4"), "tp=4/4"),
        (("--only", "[a"), "[a"),
        (("--only", "*.gguf"), "leaves nothing"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(
    shell: Shell, reference: str, options: tuple[str, ...], says: str
) -> None:
    assert says in shell.fails(2, "pull", reference, *options)
    assert "selects already" in shell.fails(2, "pull", f"{reference}#kind=doc", "--only", "*.json")


def test_agents_and_the_control_plane_take_parts(tmp_path: Path, registry: Registry, reference: str) -> None:
    with Cluster(tmp_path / "cluster", 2) as cluster:
        plan = json.loads(cluster.run(0, "plan", reference, "--kind", "doc", "--json").stdout)
        assert [file["path"] for file in plan["files"]] == ["README.md"]
        registry.clear_log()
        done = [finish(pull) for pull in [cluster.pull(node, f"{reference}#kind=weight") for node in range(2)]]
        weights = {name: FILES[name] for name in FILES if name.startswith("model-0")}
        for result in done:
            assert files_in(result["path"]) == weights
        assert sum(result["origin"] for result in done) == sum(map(len, weights.values()))
        heated = cluster.run(
            0, "preheat", reference, "--kind", "doc", "--all", "--wait", "--json", "--server", cluster.url
        )
        assert heated.returncode == 0, heated.stderr
        pull = json.loads(heated.stdout)
        assert pull["reference"] == f"{reference}#kind=doc"
        for node in pull["nodes"]:
            assert files_in(node["path"]) == {"README.md": FILES["README.md"]}


def test_a_hub_repository_is_taken_in_part(shell: Shell) -> None:
    files = {name: content for name, content in FILES.items() if name != "generation_config.json"}
    with Hub() as hub:
        hub.commit("org/model", files)
        user = Shell(shell.store.parent, HF_ENDPOINT=hub.url, HF_TOKEN="", HF_HOME=str(shell.store.parent / "hf"))
        assert set(files_in(user.pull("hf://org/model", "--only", "*.json"))) == {"config.json"}
        usual = {name: content for name, content in files.items() if "consolidated" not in name}
        whole = user.pull("hf://org/model")
        assert files_in(whole) == usual
        assert (whole.parents[1] / "refs" / "main").read_text() == whole.name
        assert files_in(user.pull("hf://org/model", "--weights", "all")) == files
        assert "original/consolidated.00.pth" in user.run("inspect", "hf://org/model").stdout
