"""What `modeldist.ray` says where there is no Ray, and of copies."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import modeldist.ray
from modeldist.errors import PullFailed, Unsupported
from modeldist.ray import NodeCopy, Prefetched, local_path, prefetch


def copy(node: str, path: str) -> NodeCopy:
    return NodeCopy(node, Path(path), "r@sha256:0", origin=0, peers=0, local=0)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(Unsupported, match=r"not installed.*\[ray\]"):
        prefetch("registry.example/org/model:v1")
    with pytest.raises(Unsupported, match="not installed"):
        local_path("registry.example/org/model:v1")
    monkeypatch.delitem(sys.modules, "modeldist.ray.serve_llm", raising=False)
    with pytest.raises(Unsupported, match="not installed"):
        _ = modeldist.ray.PrefetchCallback


def test_every_public_name_is_there() -> None:
    for name in modeldist.ray.__all__:
        if name in ("EnvPlugin", "PrefetchCallback") and find_spec("ray") is None:
            continue  # classes of Ray's
        assert getattr(modeldist.ray, name)
    with pytest.raises(AttributeError, match="nothing"):
        _ = modeldist.ray.nothing


def test_one_path_or_an_error_that_names_them() -> None:
    assert Prefetched("r", {"a": copy("a", "/m"), "b": copy("b", "/m")}).path == Path("/m")
    with pytest.raises(PullFailed, match="r has not one path: /m, /n"):
        _ = Prefetched("r", {"a": copy("a", "/m"), "b": copy("b", "/n")}).path
