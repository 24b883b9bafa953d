"""References find their origin, and only that one is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modeldist.errors import InvalidReference
from modeldist.origins.router import Origins, kind_of_reference
from modeldist.origins.settings import OriginSettings


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("org/model:tag", "oci"),
        ("model", "oci"),
        ("localhost:5000/org/model", "oci"),
        ("file:5000/model", "file"),
        ("hf/model:tag", "oci"),
        ("http:8080/model", "oci"),
        ("hf://org/model", "huggingface"),
        ("modelscope://org/model", "modelscope"),
        ("https://host/file", "http"),
        ("HTTPS://host/file", "http"),
        ("file:///a", "file"),
        ("oci-layout:/a:tag", "layout"),
    ],
)
def test_kinds(reference: str, kind: str) -> None:
    assert kind_of_reference(reference) == kind


@pytest.mark.parametrize("reference", ["s3://bucket/key", "gs://x", "://x", "ftp://host/a"])
def test_unknown_schemes_are_named(reference: str) -> None:
    with pytest.raises(InvalidReference, match="no origin is called"):
        Origins().canonical(reference)


@pytest.mark.parametrize(
    ("reference", "remedy"),
    [
        ("Qwen/Qwen2.5-7B", "hf://Qwen/Qwen2.5-7B"),
        ("sentence-transformers/all-MiniLM-L6-v2@main", "hf://sentence-transformers/all-MiniLM-L6-v2@main"),
        ("https://huggingface.co/org/Model", "hf://org/Model"),
        ("https://hf.co/org/Model/tree/v1/", "hf://org/Model@v1"),
        ("./model", "file:///"),
        ("/srv/model", "file:///"),
        ("registry.example/org/Model:v1", "A reference looks like"),
    ],
)
def test_habits_of_other_tools_are_answered(reference: str, remedy: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Origins().canonical(reference)
    assert remedy in caught.value.remedy


def test_a_file_of_a_hub_is_a_file() -> None:
    url = "https://huggingface.co/org/Model/resolve/main/model.safetensors"
    assert Origins().canonical(url) == url


@pytest.mark.parametrize(
    ("reference", "canonical"),
    [
        ("hf://org/model", "hf://org/model@main"),
        ("hf://org/model@refs/pr/1", "hf://org/model@refs/pr/1"),
        ("HTTPS://Host:443/a.bin", "https://host/a.bin"),
        ("https://host:8443/A%20b.bin?x=Y#sha256=" + "A" * 64, "https://host:8443/A%20b.bin?x=Y#sha256=" + "a" * 64),
        ("file:///a//b/../c", "file:///a/c"),
        ("file://localhost/a", "file:///a"),
        ("file:/a", "file:///a"),
    ],
)
def test_canonical(reference: str, canonical: str) -> None:
    assert Origins().canonical(reference) == canonical


@pytest.mark.parametrize(
    "reference",
    [
        "hf://",
        "hf://a/b/c",
        "hf://org/model@",
        "hf://org/model@a b",
        "hf://org/mo--del",
        "hf://org/" + "m" * 97,
        "https://",
        "https://host",
        "https://host/dir/",
        "https://user:secret@host/a",
        "https://host/a#md5=1",
        "https://host:99999/a",
        "http://registry.example/a.bin",
        "file://host/a",
        "file:a",
        "file:///a?b",
        "file:///a%00b",
    ],
)
def test_malformed_references(reference: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Origins().canonical(reference)
    assert caught.value.remedy
    assert "secret" not in str(caught.value)


def test_plain_http_where_the_settings_allow_it() -> None:
    origins = Origins(OriginSettings(plain_http=frozenset({"files.example", "other.example:8080"})))
    for allowed in ("files.example", "files.example:81", "other.example:8080"):
        assert origins.canonical(f"http://{allowed}/a.bin") == f"http://{allowed}/a.bin"
    with pytest.raises(InvalidReference, match="--plain-http other"):
        origins.canonical("http://other.example:81/a.bin")


async def test_origins_are_kept_until_closed(tmp_path: Path) -> None:
    origins = Origins(OriginSettings(file_roots=(tmp_path,)))
    assert origins.origin_for("file:///a") is origins.origin_for("file:///b")
    before = origins.origin_for("file:///a")
    await origins.close()
    assert origins.origin_for("file:///a") is not before


async def test_a_reference_of_another_kind_is_another_thing(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"x")
    origins = Origins(OriginSettings(file_roots=(tmp_path,)))
    artifact = await origins.resolve((tmp_path / "a.bin").as_uri())
    assert not await origins.still(artifact, "hf://org/model")


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("pass", {"httpx2", "huggingface_hub", "ssl", "asyncio"}),
        (
            "from modeldist.origins.router import Origins; Origins().canonical('org/model')",
            {"httpx2", "huggingface_hub"},
        ),
        (
            "from modeldist.origins.router import Origins; Origins().canonical('hf://a/b')",
            {"httpx2", "huggingface_hub"},
        ),
    ],
)
def test_nothing_is_imported_before_it_is_needed(code: str, unwanted: set[str]) -> None:
    whole = f"import sys, modeldist.origins\n{code}\nprint(sorted({unwanted!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
