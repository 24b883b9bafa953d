"""Two words of an engine's, one reference."""

from __future__ import annotations

import pytest

from modeldist.engines.versions import name_without_colon, with_revision
from modeldist.errors import UsageError

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("model", "revision", "reference"),
    [
        ("org/model:v1", None, "org/model:v1"),
        ("org/model", "v1", "org/model:v1"),
        ("org/model", DIGEST, f"org/model@{DIGEST}"),
        ("registry.example:5000/org/model", "v1", "registry.example:5000/org/model:v1"),
        ("oci://registry.example:5000/org/model", "v1", "oci://registry.example:5000/org/model:v1"),
        ("hf://org/model", "refs/pr/1", "hf://org/model@refs/pr/1"),
        ("modelscope://org/model", "main", "modelscope://org/model@main"),
    ],
)
def test_a_revision_becomes_part_of_the_reference(model: str, revision: str | None, reference: str) -> None:
    assert with_revision(model, revision) == reference


@pytest.mark.parametrize(
    "model", ["org/model:v1", f"org/model@{DIGEST}", "hf://org/model@main", "oci://registry.example/org/model:v1"]
)
def test_a_version_said_twice_is_refused(model: str) -> None:
    with pytest.raises(UsageError, match=r"says which version is meant.*--revision v2.*Say it once"):
        with_revision(model, "v2")


def test_what_has_no_revisions_is_named() -> None:
    with pytest.raises(UsageError, match="file:// has no revisions"):
        with_revision("file:///models/a", "v1")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("org/model:v1", "org/model"),
        ("org/model", "org/model"),
        (f"registry.example:5000/team/org/model:v1@{DIGEST}", "team/org/model"),
        ("localhost/org/model", "org/model"),
        ("oci://registry.example/org/model:v1", "org/model"),
        ("hf://org/model@refs/pr/1", "org/model"),
        ("file:///models/a:b", "models/a-b"),
        (f"https://host:8443/model.safetensors#{DIGEST}", "host-8443/model.safetensors"),
        ("oci-layout:/models/a:v1", "models/a"),
    ],
)
def test_clients_get_a_name_without_a_colon(reference: str, name: str) -> None:
    assert name_without_colon(reference) == name
