from __future__ import annotations

import pytest

from modeldist.gateway.oci.paths import OciRequest, is_for_a_registry, parse

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/v2", OciRequest("base")),
        ("/v2/", OciRequest("base")),
        ("/v2/_token", OciRequest("token")),
        ("/v2/busybox/manifests/latest", OciRequest("manifest", "busybox", "latest")),
        (
            f"/v2/a.example_5000/a/b__c/manifests/{DIGEST}",
            OciRequest("manifest", "a.example_5000/a/b__c", DIGEST),
        ),
        (f"/v2/manifests/blobs/{DIGEST}", OciRequest("blob", "manifests", DIGEST)),
        ("/v2/org/blobs/manifests/v1", OciRequest("manifest", "org/blobs", "v1")),
        ("/v2/org/model/tags/list", OciRequest("tags", "org/model")),
        (f"/v2/org/model/referrers/{DIGEST}", OciRequest("referrers", "org/model", DIGEST)),
        ("/v2/org/model/blobs/uploads/", OciRequest("upload", "org/model")),
        ("/v2/org/model/blobs/uploads/some-id", OciRequest("upload", "org/model", "some-id")),
    ],
)
def test_requests(path: str, request_: OciRequest) -> None:
    assert is_for_a_registry(path)
    assert parse(path) == request_


@pytest.mark.parametrize(
    "path",
    [
        "/v2/_catalog",
        "/v2/manifests/v1",
        "/v2/Org/model/manifests/v1",
        "/v2/org/../model/manifests/v1",
        "/v2/org//model/manifests/v1",
        "/v2/org/model/manifests/",
        "/v2/org/model/manifests/a/b",
        "/v2/org/model/manifests/%2e%2e",
        "/v2/org/model/blobs/v1",
        f"/v2/{'a/' * 600}manifests/v1",
        f"/v2/{'a' * 900}-/manifests/v1",
    ],
)
def test_what_is_none(path: str) -> None:
    assert parse(path) is None


@pytest.mark.parametrize("path", ["/", "/v2x/", "/api/models/org/v2", "/v20"])
def test_what_is_for_others(path: str) -> None:
    assert not is_for_a_registry(path)
