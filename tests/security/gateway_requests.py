"""One request of every kind that the gateway answers, for the private model and the private image of the house."""

from __future__ import annotations

import httpx2

from modeldist.gateway.oci.paths import TOKENS
from tests.security.house import WEIGHTS, House
from tests.servers.images import LAYER


def hub_requests(house: House) -> dict[str, list[httpx2.Request]]:
    """By kind; a branch and a commit each, which are asked for in different ways."""
    commit = house.hub.repos["org/private"].refs["main"]
    found: dict[str, list[httpx2.Request]] = {}
    for revision in ("main", commit):
        base = f"{house.gateway}/api/models/org/private"
        found.setdefault("info", []).append(httpx2.Request("GET", f"{base}/revision/{revision}"))
        found.setdefault("tree", []).append(httpx2.Request("GET", f"{base}/tree/{revision}?recursive=true"))
        asking = httpx2.Request("POST", f"{base}/paths-info/{revision}", json={"paths": ["config.json"]})
        found.setdefault("paths-info", []).append(asking)
        for method in ("GET", "HEAD"):
            for file in ("config.json", WEIGHTS):
                url = f"{house.gateway}/org/private/resolve/{revision}/{file}"
                found.setdefault("resolve", []).append(httpx2.Request(method, url))
    return found


def oci_requests(house: House) -> dict[str, list[str]]:
    """Paths by kind."""
    repository = f"{house.registry.host.replace(':', '_')}/org/private"
    (layer,) = (digest for digest in house.image.blobs if digest in layers(house))
    base = f"/v2/{repository}"
    return {
        "base": ["/v2/"],
        "token": [TOKENS],
        "manifest": [f"{base}/manifests/v1", *(f"{base}/manifests/{digest}" for digest in manifests(house))],
        "blob": [f"{base}/blobs/{layer}"],
        "tags": [f"{base}/tags/list"],
        "referrers": [f"{base}/referrers/{manifests(house)[0]}"],
        "upload": [f"{base}/blobs/uploads/"],
    }


def manifests(house: House) -> list[str]:
    return [digest for digest, data in house.image.blobs.items() if LAYER.encode() in data]


def layers(house: House) -> list[str]:
    (manifest,) = (data for data in house.image.blobs.values() if LAYER.encode() in data)
    return [digest for digest in house.image.blobs if f'{LAYER}", "digest": "{digest}'.encode() in manifest]
