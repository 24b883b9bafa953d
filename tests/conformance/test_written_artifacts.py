"""Artifacts that these tests write themselves: what each tool's versions produce, and what an attacker would.

Each is read in both modes out of an OCI image layout, and out of a registry: docker-registry, or, where that refuses
the manifest or a blob, one that takes everything. `python -m tests.conformance.test_written_artifacts` prints the table
of verdicts.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.errors import ModelPackError, UnsupportedArtifact
from modelpack.imagelayers import unpacking_order
from modelpack.layout import OciLayout
from modelpack.lint import lint_layout
from modelpack.names import NameSet
from modelpack.oci import RegistryClient, pull_layout
from modelpack.oci import read_model as read_from_registry
from modelpack.reading import read_model
from modelpack.reference import Reference
from modelpack.tarlayer import extract_tar
from modelpack.verify import verify_layout
from tests.conformance.artifacts import formats, hostile, packs
from tests.conformance.artifacts.cases import Case
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.registry import Registry

CASES = {case.name: case for case in (*packs.CASES, *formats.CASES, *hostile.CASES)}
# What docker-registry 2.8 does not take: blobs that are not what they say, and manifests that break its rules.
REFUSED_BY_DOCKER_REGISTRY = {
    "digest-is-a-path",
    "json-both-kinds",
    "manifest-nested",
    "manifest-of-5-mib",
    "other-bytes",
    "shorter",
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def anything():
    with FaultyRegistry() as running:
        yield running


def tree(layout: OciLayout, case: Case, destination: Path) -> dict[str, bytes]:
    """The artifact on disk, by content. What a link leads to counts as the link's."""
    found = {}
    artifact = verify_layout(layout, case.name, mode="lenient", limits=case.limits)
    names = NameSet()
    archives = [file for file in artifact.files if file.encoding != "raw"]
    for file in artifact.files:
        if file.encoding == "raw":
            names.add_file(file.path)
            with layout.blobs.open(file.descriptor) as blob:
                found[file.path] = blob.read()
    for number, select in unpacking_order([file.subtree for file in archives]):
        with layout.blobs.open(archives[number].descriptor) as blob:
            extract_tar(blob, archives[number].encoding, destination, links=True, names=names, select=select)
    for path in destination.rglob("*"):
        if path.is_file():
            found[path.relative_to(destination).as_posix()] = path.read_bytes()
    return found


def check(case: Case, layout: OciLayout, tmp_path: Path) -> None:
    """Both modes of reading what is in the layout."""
    for mode, error in (("strict", case.strict), ("lenient", case.lenient)):
        if error is not None:
            with pytest.raises(error) as refused:
                verify_layout(layout, case.name, mode=mode, limits=case.limits)
            if case.lenient is None:
                assert refused.value.deviation is not None
                assert refused.value.deviation.code in case.codes
            if not case.files:
                assert all(words in str(refused.value) for words in case.says), str(refused.value)
            continue
        artifact = verify_layout(layout, case.name, mode=mode, limits=case.limits)
        assert {deviation.code for deviation in artifact.deviations} == set(case.codes)
    if case.lenient is None:
        assert tree(layout, case, tmp_path / "tree") == case.files


async def test_a_variant_of_an_index_is_read_by_its_label(tmp_path, registry):
    """And a model by one call, with its weights left where they are."""
    case = CASES["kitops-variants"]
    layout = case.artifact.into_layout(tmp_path / "layout")
    chosen = read_model(layout, case.name, labels={"quantization": "q8_0"})
    assert [file.path for file in chosen.artifact.files] == ["model.bin"]
    registry.clear_log()
    async with RegistryClient() as client:
        ref = Reference.parse(case.artifact.push(registry) or "")
        registry.clear_log()
        assert await read_from_registry(ref, client, labels={"quantization": "q8_0"}) == chosen
        with pytest.raises(UnsupportedArtifact, match="q4_0"):
            await read_from_registry(ref, client, labels={"quantization": "q2_k"})
    assert [access.blob for access in registry.access_log() if access.blob] == [chosen.manifest.config.digest]


@pytest.mark.parametrize("name", CASES)
def test_from_a_layout(name, tmp_path):
    case = CASES[name]
    check(case, case.artifact.into_layout(tmp_path / "layout"), tmp_path)


@pytest.mark.parametrize("name", CASES)
async def test_from_a_registry(name, tmp_path, registry, anything):
    case = CASES[name]
    reference = case.artifact.push(registry)
    assert (reference is None) is (name in REFUSED_BY_DOCKER_REGISTRY)
    layout = OciLayout.create(tmp_path / "layout")
    async with RegistryClient() as client:
        pulling = pull_layout(Reference.parse(reference or case.artifact.serve(anything)), layout, client, name=name)
        try:
            await pulling
        except ModelPackError as problem:  # what the client sees before anything is read
            assert case.lenient is not None, problem
            assert isinstance(problem, case.wire or case.lenient), problem
            assert not layout.index().manifests
            return
    check(case, layout, tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_lint_survives_it_and_says_why(name, tmp_path):
    case = CASES[name]
    (report,) = lint_layout(case.artifact.into_layout(tmp_path / "layout"), name, digests=True)
    found = {finding.rule for finding in report.findings if finding.severity == "error"}
    if case.strict is None:
        # these weights are made up, which their headers show
        assert found <= {"MP601", "MP606", "MP701"}
    elif name == "kitops-variants":
        assert "MP905" in {finding.rule for finding in report.findings}
    elif not name.startswith("bomb"):  # these are small ones, as this knows no other limits
        assert found


def test_there_are_enough_kinds():
    good = [case for case in CASES.values() if case.lenient is None]
    assert len(good) >= 25
    assert len(CASES) - len(good) >= 40
    assert len({case.why for case in CASES.values()}) > 60


if __name__ == "__main__":
    for case in CASES.values():
        verdicts = [error.__name__ if error else "accepted" for error in (case.strict, case.lenient)]
        by = "another registry" if case.name in REFUSED_BY_DOCKER_REGISTRY else "docker-registry"
        told = f" ({', '.join(case.codes)})" if case.codes else ""
        print(f"{case.name:30} strict {verdicts[0]:20} lenient {verdicts[1]:20} {len(case.files)} files, {by}{told}")
