"""The 15 artifacts of the dialect collection through `modeldist pull`: which files with which bytes, or which refusal.

From docker-registry, from a registry that takes what docker-registry refuses, and from an OCI image layout.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tests.conformance import test_written_artifacts as written
from tests.servers import dialects
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry
from tests.servers.shell import Shell

pytestmark = dialects.needs_collection

WEIGHTS = "7614388dba560b60a694ab2bc19c91d9b34828c133572c538ba339d346e9db52"
CONFIG = "64f519c70a0f54176d2f258ca4c041a2b6e410d5bdd9cfe16b83163ca0edf0cc"
LICENSE = "4b2b418bbeeb44157535c731f489f6e1dc506a2acd39171ca9afef9f5d17aa7d"

# case: {path in the snapshot: sha256 of its content, or the tar layer that holds it}
FILES: dict[str, dict[str, str]] = {
    "cncf-raw-modctl-0.2.1": {"config.json": CONFIG, "sub/model.safetensors": WEIGHTS},
    "cncf-v0.0.7-embedding": {"m.bin": WEIGHTS},
    "cnai-modctl-0.2.2-camel": {"m.bin": WEIGHTS},
    "aikit-tar-category": {"config.json": "tar", "tokenizer.json": "tar"},
    "docker-v0.2-files": {"text_encoder/model.safetensors": WEIGHTS, "config.json": CONFIG},
    "olot-title-only": {"models/model.joblib": "tar"},
    "no-artifact-type": {"m.bin": WEIGHTS},
    "ollama": {"model.gguf": WEIGHTS, "LICENSE": LICENSE},
    "hostile-diffid-mismatch": {"m.bin": WEIGHTS},  # raw layers are proven by their own digests: said, not refused
}
# case: words of a warning
WARNINGS = {
    "cncf-v0.0.7-embedding": "embedding",
    "aikit-tar-category": "empty object",
    "no-artifact-type": "no artifactType",
    "hostile-diffid-mismatch": "diffId",
}
# case: exit code and words of the sentence
REFUSALS: dict[str, tuple[int, tuple[str, ...]]] = {
    "hostile-path-traversal": (11, ("'../../evil'", "leads out of the directory", "tell its publisher")),
    "hostile-path-absolute": (11, ("'/etc/evil'", "absolute", "tell its publisher")),
    "hostile-path-nul": (11, ("'a\\x00b'", "NUL", "tell its publisher")),
    "hostile-duplicate-path": (11, ("'m.bin'", "twice", "tell its publisher")),
    "hostile-tar-symlink-escape": (11, ("'link'", "'/etc'", "tell its publisher")),
    "hostile-size-mismatch": (10, ("m.bin", "512", "513", "push")),
}
# refused when all of their blobs are here already: offline they are refused again, with the same words
HELD = {"hostile-tar-symlink-escape"}


@pytest.fixture(params=["registry", "layout"])
def origin(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def reference_to(case: str, origin: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Where the case is: docker-registry if it takes it."""
    if origin == "layout":
        dialects.layout_of(case, tmp_path / "layout")
        return f"oci-layout:{tmp_path / 'layout'}:{case}"
    registry: Registry = request.getfixturevalue("registry")
    if reference := dialects.pushed(case, registry):
        return reference
    faulty: FaultyRegistry = request.getfixturevalue("faulty")
    return dialects.served(case, faulty)


def in_archives(case: str) -> dict[str, str]:
    """sha256 by path of all files in the case's archives, by the standard library's reader."""
    found = {}
    for _, blob in dialects.blobs(case):
        if not tarfile.is_tarfile(blob):
            continue
        with tarfile.open(fileobj=io.BytesIO(blob.read_bytes())) as archive:
            for member in archive:
                if content := archive.extractfile(member):
                    found[member.name.removeprefix("./")] = hashlib.sha256(content.read()).hexdigest()
    return found


def expected(case: str) -> dict[str, str]:
    packed = in_archives(case)
    return {path: packed[path] if digest == "tar" else digest for path, digest in FILES[case].items()}


def content(snapshot: Path) -> dict[str, str]:
    return {
        str(path.relative_to(snapshot)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in snapshot.rglob("*")
        if not path.is_dir()
    }


@pytest.mark.parametrize("case", FILES)
def test_accepted(shell: Shell, case: str, origin: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert "accept" in dialects.cases[case]["expect"] or "lenient" in dialects.cases[case]["expect"]
    reference = reference_to(case, origin, tmp_path, request)
    pulled = shell.pull_json(reference)
    assert content(Path(pulled["path"])) == expected(case)
    assert pulled["digest"] == dialects.cases[case]["manifest_digest"]
    warned = " ".join(pulled.get("warnings", []))
    assert WARNINGS.get(case, "") in warned
    assert bool(warned) is (case in WARNINGS)
    assert shell.pull(reference) == Path(pulled["path"])  # and again from what is here


@pytest.mark.parametrize("case", REFUSALS)
def test_refused(shell: Shell, case: str, origin: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert dialects.cases[case]["expect"] == "reject"
    reference = reference_to(case, origin, tmp_path, request)
    code, words = REFUSALS[case]
    if case == "hostile-size-mismatch" and origin == "registry":
        code = 9  # the registry announced another length than it sends
    sentence = shell.fails(code, "pull", reference)
    assert all(word in sentence for word in words), sentence
    assert not list(shell.store.rglob("snapshots/*/*"))
    assert not Path("/etc/evil").exists()
    if case in HELD:
        assert shell.fails(code, "pull", "--offline", reference).split() == sentence.split()
    else:
        assert "not in this node's store" in shell.fails(18, "pull", "--offline", reference)
    assert not list(shell.store.rglob("snapshots/*/*"))


def test_a_registry_that_calls_a_manifest_plain_text(shell: Shell, faulty: FaultyRegistry) -> None:
    """As Ollama's own registry does."""
    reference = dialects.served("ollama", faulty, content_type="text/plain; charset=utf-8")
    assert content(shell.pull(reference)) == expected("ollama")


WRITTEN = (
    "kitops-raw-and-zstd",
    "modctl-first",
    "modelcar-zstd",
    "ollama-tensors",
    "olot-in-an-index",
)
WRITTEN_REFUSALS = {
    "image-without-models": (19, "/models"),
    "json-duplicate-key": (9, "'layers' appears twice"),
    "kitops-variants": (19, "quantization=q8_0"),
    "names-case": (11, "'model.BIN'"),
    "tar-through-a-link": (11, "'link/evil'"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_accepted_of_those_written_here(shell: Shell, registry: Registry, name: str) -> None:
    case = written.CASES[name]
    snapshot = shell.pull(case.artifact.push(registry) or "refused")
    found = {path.relative_to(snapshot).as_posix(): path.read_bytes() for path in snapshot.rglob("*") if path.is_file()}
    assert found == case.files


@pytest.mark.parametrize("name", WRITTEN_REFUSALS)
def test_refused_of_those_written_here(shell: Shell, registry: Registry, name: str) -> None:
    code, words = WRITTEN_REFUSALS[name]
    assert words in shell.fails(code, "pull", written.CASES[name].artifact.push(registry) or "refused")
    assert not list(shell.store.rglob("snapshots/*/*"))


def test_every_case_has_its_test() -> None:
    assert dialects.cases.keys() == FILES.keys() | REFUSALS.keys()
    assert len(dialects.cases) == 15
