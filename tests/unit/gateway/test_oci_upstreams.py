"""Which registries are mirrored, and how they are named."""

from __future__ import annotations

import pytest

from modeldist.errors import InvalidReference, UsageError
from modeldist.gateway.oci.upstreams import NotMirrored, Upstreams

MIRRORED = Upstreams("registry.example", ["docker.io", "registry.example", "127.0.0.1:5000", "*.pkg.example"])


@pytest.mark.parametrize(
    ("name", "ns", "repository"),
    [
        ("org/model", None, "registry.example/org/model"),
        ("org/model", "", "registry.example/org/model"),
        ("registry.example/org/model", None, "registry.example/org/model"),
        ("127.0.0.1_5000/org/model", None, "127.0.0.1:5000/org/model"),
        ("docker.io/library/busybox", None, "docker.io/library/busybox"),
        ("docker.io/busybox", None, "docker.io/library/busybox"),
        ("library/busybox", "docker.io", "docker.io/library/busybox"),
        ("library/busybox", "registry-1.docker.io", "docker.io/library/busybox"),
        ("org/model", "127.0.0.1:5000", "127.0.0.1:5000/org/model"),
        ("registry.example/org/model", "docker.io", "docker.io/registry.example/org/model"),
        ("org/model", "Europe-Docker.pkg.example", "europe-docker.pkg.example/org/model"),
    ],
)
def test_what_a_name_means(name: str, ns: str | None, repository: str) -> None:
    assert MIRRORED.repository(name, ns).name == repository


@pytest.mark.parametrize(
    ("name", "ns"),
    [
        ("org/model", "other.example"),
        ("other.example/org/model", None),
        ("localhost/org/model", None),
        ("org/model", "registry.example:443"),
        ("org/model", "127.0.0.1:5001"),
        ("org/model", "127.0.0.1"),
        ("org/model", "169.254.169.254"),
        ("org/model", "pkg.example"),
        ("org/model", "evilpkg.example"),
        ("org/model", "a.pkg.example:8080"),
        ("org/model", "sub.registry.example"),
    ],
)
def test_what_is_not_mirrored(name: str, ns: str | None) -> None:
    with pytest.raises(NotMirrored, match=r"docker\.io"):
        MIRRORED.repository(name, ns)


@pytest.mark.parametrize("ns", ["registry", "a/b.example", "user@registry.example", "registry.example/x", "a b.c"])
def test_what_is_no_registry(ns: str) -> None:
    with pytest.raises((InvalidReference, NotMirrored)):
        MIRRORED.repository("org/model", ns)


def test_the_default_registry_alone_where_none_is_named() -> None:
    assert Upstreams("docker.io", ()).names == ("docker.io",)


@pytest.mark.parametrize("wrong", ["*", "*.", "*.com:80", "http://registry.example", "a/b", "regist ry", "*.local", ""])
def test_what_cannot_be_mirrored(wrong: str) -> None:
    with pytest.raises(UsageError, match="no registry to mirror"):
        Upstreams("docker.io", [wrong])
