"""Clients of registries, as they are, against the agent's OCI mirror."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.integration.gateway.oci_mirrors import Mirrors, bytes_read, code, sizes
from tests.servers import faults
from tests.servers.artifacts import OCI_INDEX, OCI_MANIFEST, REPOSITORY, Written, raw, sha256, written
from tests.servers.containerd import Containerd
from tests.servers.images import blobs_in, image_layout, push, skopeo
from tests.servers.registry import PASSWORD, USERNAME

PLATFORMS = {"linux/amd64": 3, "linux/arm64": 2}
ABSENT = "sha256:" + "0" * 64


def model(name: str) -> Written:
    return written(name, [raw("model.safetensors", os.urandom(3_000_000)), raw("config.json", b"{}", "weight.config")])


def documents(artifact: Written) -> dict[str, bytes]:
    return {sha256(each.data): each.data for each in artifact.documents}


def test_an_image_is_copied_by_skopeo_and_read_once(mirrors: Mirrors, tmp_path: Path) -> None:
    image, host = image_layout(tmp_path / "image", "one", PLATFORMS), mirrors.registry.host
    push(image, host, "org/one:v1")
    mirrors.registry.clear_log()
    for node, place in ((0, "first"), (0, "again"), (1, "elsewhere")):
        assert mirrors.copy(node, host, "org/one:v1", tmp_path / place, "--all") == image.blobs
        assert bytes_read(mirrors.registry) == sizes(image.blobs)


def test_one_platform_moves_alone(mirrors: Mirrors, tmp_path: Path) -> None:
    image, host = image_layout(tmp_path / "image", "alone", PLATFORMS), mirrors.registry.host
    push(image, host, "org/alone:v1")
    mirrors.registry.clear_log()
    got = mirrors.copy(0, host, "org/alone:v1", tmp_path / "copy", "--override-arch=arm64")
    assert 2 + 2 == len(got) < len(image.blobs)  # two layers, a config and a manifest
    index = set(bytes_read(mirrors.registry)) - set(got)
    assert len(index) == 1


def test_two_nodes_at_once_read_each_blob_once(mirrors: Mirrors, tmp_path: Path) -> None:
    image, host = image_layout(tmp_path / "image", "two", PLATFORMS, size=2_000_000), mirrors.registry.host
    push(image, host, "org/two:v1")
    mirrors.registry.clear_log()

    def copy(number: int) -> dict[str, bytes]:
        return mirrors.copy(number % 2, host, "org/two:v1", tmp_path / str(number), "--all")

    with ThreadPoolExecutor(4) as all_at_once:
        assert list(all_at_once.map(copy, range(4))) == [image.blobs] * 4
    assert bytes_read(mirrors.registry) == sizes(image.blobs)


def test_manifests_of_dockers_own_types(mirrors: Mirrors, tmp_path: Path) -> None:
    host = mirrors.registry.host
    push(image_layout(tmp_path / "image", "docker", PLATFORMS), host, "org/docker:v1", docker=True)
    url = mirrors.url(0, host, "org/docker", "manifests/v1")
    told = mirrors.web.head(url).headers
    assert told["Content-Type"] == "application/vnd.docker.distribution.manifest.list.v2+json"
    assert sha256(mirrors.web.get(url).content) == told["Docker-Content-Digest"]
    source = f"docker://{mirrors.reference(0, host, 'org/docker:v1')}"
    skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}")
    got = {path.name for path in (tmp_path / "copy").iterdir()}
    assert len(got) == 2 + 2 + 4 + 2  # manifests, configs, layers of which one is shared; the list, and a version


def test_a_modelpack_by_skopeo_and_oras_and_as_a_pull_read_once(mirrors: Mirrors, tmp_path: Path) -> None:
    from oras.client import OrasClient

    packed, host = model("pack"), mirrors.registry.host
    reference = packed.push(mirrors.registry)
    mirrors.registry.clear_log()
    stored = {**packed.blobs, **documents(packed)}
    assert mirrors.copy(0, host, f"{REPOSITORY}:pack", tmp_path / "copy") == stored
    OrasClient(insecure=True).pull(
        target=mirrors.reference(1, host, f"{REPOSITORY}:pack"), outdir=str(tmp_path / "oras")
    )
    weights = next(data for data in packed.blobs.values() if len(data) == 3_000_000)
    assert (tmp_path / "oras" / "model.safetensors").read_bytes() == weights
    assert bytes_read(mirrors.registry) == sizes(stored)
    assert reference is not None
    pulled = mirrors.cluster.run(1, "pull", reference)
    assert pulled.returncode == 0, pulled.stderr
    assert (Path(pulled.stdout.strip()) / "model.safetensors").read_bytes() == weights
    assert bytes_read(mirrors.registry)[sha256(weights)] == len(weights)


def test_an_image_that_was_put_here_before_it_is_asked_for(mirrors: Mirrors, tmp_path: Path) -> None:
    here = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    image, host = image_layout(tmp_path / "image", "before", PLATFORMS), mirrors.registry.host
    reference = push(image, host, "org/before:v1")
    for _ in range(2):
        pulled = mirrors.cluster.run(0, "pull", f"oci://{reference}")
        assert pulled.returncode == 0, pulled.stderr
    mirrors.registry.clear_log()
    got = mirrors.copy(0, host, "org/before:v1", tmp_path / "copy", f"--override-arch={here}")
    assert bytes_read(mirrors.registry) == {}
    assert got.items() <= image.blobs.items()
    stored = {f"sha256:{path.name}": path.read_bytes() for path in Path(pulled.stdout.strip()).glob("blobs/sha256/*")}
    assert got.items() < stored.items() <= image.blobs.items()  # an index besides
    again = mirrors.cluster.run(0, "pull", f"oci://{reference}")
    assert again.stdout == pulled.stdout
    assert bytes_read(mirrors.registry) == {}
    removed = mirrors.cluster.run(0, "rm", f"oci://{reference}")
    assert removed.returncode == 0, removed.stderr


def test_an_image_that_harbor_preheats(mirrors: Mirrors, tmp_path: Path) -> None:
    """Harbor knows nothing of models: whatever its policy names comes, and the mirrors of all nodes serve it."""
    here = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    image, host = image_layout(tmp_path / "image", "harbor", PLATFORMS), mirrors.registry.host
    push(image, host, "org/harbor:v1")
    url = f"http://{host}/v2/org/harbor/manifests/v1"
    arguments = {"type": "image", "url": url, "scope": "all_peers", "timeout": 60_000_000_000}
    with httpx2.Client(
        base_url=mirrors.cluster.url, headers={"Authorization": f"Bearer {mirrors.cluster.token('admin')}"}, timeout=60
    ) as harbor:
        job = harbor.post("/oapi/v1/jobs", json={"type": "preheat", "args": arguments}).raise_for_status().json()
        with harbor.stream("GET", f"/api/v1/pulls/{job['task_id']}/events") as events:
            assert "event: end" in events.read().decode()
        ended = harbor.get(f"/oapi/v1/jobs/{job['id']}").raise_for_status().json()
        pull = harbor.get(f"/api/v1/pulls/{job['task_id']}").raise_for_status().json()
    assert ended["state"] == "SUCCESS", ended["result"]
    assert pull["reference"] == f"oci://{host}/org/harbor:v1"
    mirrors.registry.clear_log()
    for node in range(2):
        got = mirrors.copy(node, host, "org/harbor:v1", tmp_path / f"copy-{node}", f"--override-arch={here}")
        assert got.items() <= image.blobs.items()
    assert bytes_read(mirrors.registry) == {}


def test_what_is_told_of_manifests_and_blobs(mirrors: Mirrors) -> None:
    packed, host = model("told"), mirrors.registry.host
    packed.push(mirrors.registry)
    manifest = packed.documents[-1].data
    for version in ("told", packed.digest):
        url = mirrors.url(0, host, REPOSITORY, f"manifests/{version}")
        head, got = mirrors.web.head(url), mirrors.web.get(url)
        assert (got.content, head.content) == (manifest, b"")
        for answer in (head, got):
            assert answer.headers["Content-Type"] == OCI_MANIFEST
            assert answer.headers["Docker-Content-Digest"] == packed.digest
            assert answer.headers["Content-Length"] == str(len(manifest))
    for digest, data in packed.blobs.items():
        head = mirrors.web.head(mirrors.url(0, host, REPOSITORY, f"blobs/{digest}"))
        assert (head.headers["Content-Length"], head.headers["Docker-Content-Digest"]) == (str(len(data)), digest)


def test_a_tag_that_moves(mirrors: Mirrors) -> None:
    host = mirrors.registry.host
    for packed in (model("moves"), model("moves")):
        packed.push(mirrors.registry)
        got = mirrors.web.get(mirrors.url(0, host, REPOSITORY, "manifests/moves"))
        assert got.content == packed.documents[-1].data


def test_ranges_of_a_blob_that_no_manifest_was_asked_for(mirrors: Mirrors) -> None:
    packed, host = model("ranges"), mirrors.registry.host
    packed.push(mirrors.registry)
    digest, content = max(packed.blobs.items(), key=lambda blob: len(blob[1]))
    url, size = mirrors.url(0, host, REPOSITORY, f"blobs/{digest}"), len(content)
    for asked, (start, stop) in {
        "bytes=0-9": (0, 10),
        "bytes=1000000-": (1_000_000, size),
        f"bytes={size - 1}-{size + 500}": (size - 1, size),
        "bytes=-7": (size - 7, size),
    }.items():
        got = mirrors.web.get(url, headers={"Range": asked})
        assert (got.status_code, got.headers["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{size}")
        assert got.content == content[start:stop]
    beyond = mirrors.web.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert mirrors.web.get(url).content == content


def test_the_registry_may_be_named_as_containerd_does(mirrors: Mirrors) -> None:
    packed, host = model("ns"), mirrors.registry.host
    packed.push(mirrors.registry)
    found = mirrors.web.get(f"{mirrors.urls[0]}/v2/{REPOSITORY}/manifests/ns?ns={host}")
    assert found.content == packed.documents[-1].data
    elsewhere = mirrors.web.get(f"{mirrors.urls[0]}/v2/{REPOSITORY}/manifests/ns?ns={mirrors.faulty.host}")
    assert code(elsewhere) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize("credentials", ["", f"{USERNAME}:{PASSWORD}"])
def test_containerd_pulls_images_through_the_mirror(mirrors: Mirrors, credentials: str, tmp_path: Path) -> None:
    registry = mirrors.private["token"] if credentials else mirrors.registry
    image = image_layout(tmp_path / "image", f"containerd {credentials}", PLATFORMS)
    reference = push(image, registry.host, "org/containerd:v1", credentials=credentials)
    registry.clear_log()
    with Containerd({registry.host: mirrors.urls[0]}) as containerd:
        containerd.pull(reference, "--all-platforms", *(["--user", credentials] if credentials else []))
        assert containerd.content() == set(image.blobs)
    assert bytes_read(registry) == sizes(image.blobs)


def test_a_mirror_in_the_configuration_of_podman_and_cri_o(mirrors: Mirrors, tmp_path: Path) -> None:
    """Which is skopeo's too."""
    image, host = image_layout(tmp_path / "image", "configured", PLATFORMS), mirrors.registry.host
    reference = push(image, host, "org/configured:v1")
    configuration = tmp_path / "registries.conf"
    mirror = mirrors.reference(0, host, "").rstrip("/")
    configuration.write_text(
        f"""
        [[registry]]
        location = "{host}"
        [[registry.mirror]]
        location = "{mirror}"
        insecure = true
        """
    )
    mirrors.registry.clear_log()
    copy = tmp_path / "copy"
    source, target = f"docker://{reference}", f"oci:{copy}:v1"
    skopeo(f"--registries-conf={configuration}", "copy", "--all", "--preserve-digests", source, target)
    assert blobs_in(copy) == image.blobs
    assert bytes_read(mirrors.registry) == sizes(image.blobs)
    assert {access.status for access in mirrors.registry.access_log()} <= {200, 206}


def test_only_registries_that_are_mirrored_are_asked(mirrors: Mirrors) -> None:
    for url in (
        f"{mirrors.urls[0]}/v2/org/model/manifests/v1?ns=169.254.169.254",
        f"{mirrors.urls[0]}/v2/org/model/manifests/v1?ns=127.0.0.1:1",
        f"{mirrors.urls[0]}/v2/registry.example/org/model/blobs/{ABSENT}",
        f"{mirrors.urls[0]}/v2/org/model/tags/list",
    ):
        answer = mirrors.web.get(url)
        assert code(answer) == (403, "DENIED")
        assert mirrors.registry.host in answer.text


def test_errors_are_those_of_registries(mirrors: Mirrors) -> None:
    packed, host = model("errors"), mirrors.registry.host
    packed.push(mirrors.registry)

    def asked(rest: str, repository: str = REPOSITORY, method: str = "GET") -> tuple[int, str]:
        answer = mirrors.web.request(method, mirrors.url(0, host, repository, rest))
        assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        return code(answer)

    assert asked("manifests/absent") == (404, "MANIFEST_UNKNOWN")
    assert asked(f"manifests/{ABSENT}") == (404, "MANIFEST_UNKNOWN")
    assert asked(f"blobs/{ABSENT}") == (404, "BLOB_UNKNOWN")
    assert asked("tags/list", "org/nobody-has-it") == (404, "NAME_UNKNOWN")
    assert asked("blobs/sha256:12") == (400, "DIGEST_INVALID")
    assert asked("manifests/sha256:12") == (400, "DIGEST_INVALID")
    assert asked("blobs/uploads/", method="POST") == (405, "UNSUPPORTED")
    assert asked("manifests/v2", method="PUT") == (405, "UNSUPPORTED")
    assert asked(f"blobs/{ABSENT}", method="DELETE") == (405, "UNSUPPORTED")
    assert asked("nothing/of/this") == (404, "UNSUPPORTED")
    answer = mirrors.web.get(f"{mirrors.urls[0]}/v2/", headers={"Host": "example.com"})
    assert code(answer) == (421, "DENIED")


def test_a_blob_of_another_repository_is_none_of_this_one(mirrors: Mirrors) -> None:
    """Also when this node has it."""
    packed, host = model("elsewhere"), mirrors.registry.host
    packed.push(mirrors.registry)
    digest = next(iter(packed.blobs))
    assert mirrors.web.get(mirrors.url(0, host, REPOSITORY, f"blobs/{digest}")).status_code == 200
    other = mirrors.web.get(mirrors.url(0, host, "org/other", f"blobs/{digest}"))
    assert code(other) == (404, "BLOB_UNKNOWN")


def test_a_manifest_may_not_take_blobs_from_elsewhere(mirrors: Mirrors) -> None:
    """Registries that look at no blobs take any manifest; this node has the blob, of another repository."""
    secret = b"of another repository"
    for name, claimed in (("org/secret", len(secret)), ("org/thief", len(secret)), ("org/liar", 3)):
        layer = {**raw("model.gguf", secret).descriptor(), "size": claimed}
        manifest = written("v1", [raw("config.json", b"{}")]).documents[-1].data
        document = json.loads(manifest)
        document["layers"] = [layer]
        mirrors.faulty.add_manifest(name, "v1", json.dumps(document).encode())
    for name in ("org/secret", "org/liar"):
        mirrors.faulty.add_blob(name, secret)

    def read(name: str) -> httpx2.Response:
        assert mirrors.web.get(mirrors.url(0, mirrors.faulty.host, name, "manifests/v1")).status_code == 200
        return mirrors.web.get(mirrors.url(0, mirrors.faulty.host, name, f"blobs/{sha256(secret)}"))

    assert read("org/secret").content == secret
    assert code(read("org/thief")) == (404, "BLOB_UNKNOWN")
    assert read("org/liar").content == secret


def test_tags(mirrors: Mirrors, tmp_path: Path) -> None:
    image, host = image_layout(tmp_path / "image", "tags", {"linux/amd64": 1}), mirrors.registry.host
    for tag in ("v2", "v1", "v3"):
        push(image, host, f"org/tags:{tag}")
    url = mirrors.url(0, host, "org/tags", "tags/list")
    name = mirrors.name(host, "org/tags")
    assert mirrors.web.get(url).json() == {"name": name, "tags": ["v1", "v2", "v3"]}
    page = mirrors.web.get(f"{url}?n=2")
    assert page.json()["tags"] == ["v1", "v2"]
    following = httpx2.URL(mirrors.urls[0]).join(page.links["next"]["url"])
    rest = mirrors.web.get(following)
    assert (rest.json()["tags"], rest.links) == (["v3"], {})


def test_what_is_no_manifest(mirrors: Mirrors) -> None:
    mirrors.faulty.add_manifest("org/odd", "large", b" " * (4 << 20) + b"{}")
    first = {"schemaVersion": 1, "name": "org/odd", "fsLayers": [], "history": []}
    mirrors.faulty.add_manifest("org/odd", "first", json.dumps(first).encode())
    for tag in ("large", "first"):
        answer = mirrors.web.get(mirrors.url(0, mirrors.faulty.host, "org/odd", f"manifests/{tag}"))
        assert code(answer) == (404, "UNSUPPORTED")


def test_referrers(mirrors: Mirrors) -> None:
    subject = mirrors.faulty.add_model("org/signed", "v1", {"model.gguf": b"weights"})
    descriptor = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1}
    signature = written("signature", [raw("sig", b"signed")], subject=descriptor).documents[-1].data
    attached = mirrors.faulty.add_manifest("org/signed", None, signature)
    url = mirrors.url(0, mirrors.faulty.host, "org/signed", f"referrers/{subject}")
    found = mirrors.web.get(url)
    assert found.headers["Content-Type"] == OCI_INDEX
    assert [entry["digest"] for entry in found.json()["manifests"]] == [attached]
    filtered = mirrors.web.get(url, params={"artifactType": "application/vnd.example.other"})
    assert (filtered.json()["manifests"], filtered.headers["OCI-Filters-Applied"]) == ([], "artifactType")


def test_wrong_bytes_never_make_a_whole_blob(mirrors: Mirrors) -> None:
    """They are found before the last of them is sent; what has been sent by then breaks off."""
    weights = os.urandom(3_000_000)
    mirrors.faulty.add_model("org/wrong", "v1", {"model.gguf": weights})
    mirrors.faulty.inject(faults.corrupted(10, times=1), on=sha256(weights), method="GET")
    url = mirrors.url(0, mirrors.faulty.host, "org/wrong", f"blobs/{sha256(weights)}")
    came = []
    for _ in range(3):  # the second may still meet what the first has met
        try:
            answer = mirrors.web.get(url)
        except httpx2.RemoteProtocolError:
            continue
        assert (answer.status_code, answer.content) == (200, weights) or code(answer) == (502, "UNKNOWN")
        came.append(answer.status_code)
    assert came[-1] == 200


def test_a_registry_that_has_gone_since(mirrors: Mirrors) -> None:
    mirrors.faulty.add_model("org/gone", "v1", {"model.gguf": b"weights of it"})
    manifest = mirrors.url(0, mirrors.faulty.host, "org/gone", "manifests/v1")
    blob = mirrors.url(0, mirrors.faulty.host, "org/gone", f"blobs/{sha256(b'weights of it')}")
    before = mirrors.web.get(manifest).content
    assert mirrors.web.get(blob).content == b"weights of it"
    mirrors.faulty.inject(faults.unavailable())
    try:
        assert mirrors.web.get(manifest).content == before
        assert mirrors.web.get(blob).content == b"weights of it"
        other = mirrors.url(0, mirrors.faulty.host, "org/gone", "manifests/v2")
        assert code(mirrors.web.get(other)) == (502, "UNKNOWN")
        stranger = mirrors.web.get(manifest, auth=("somebody", "else"))
        assert code(stranger) == (502, "UNKNOWN")
    finally:
        mirrors.faulty.heal()


@pytest.mark.parametrize("by", ["basic", "token"])
def test_a_private_image_is_for_those_whom_the_registry_lets_in(mirrors: Mirrors, by: str, tmp_path: Path) -> None:
    registry = mirrors.private[by]
    image, host = image_layout(tmp_path / "image", f"private {by}", PLATFORMS), registry.host
    push(image, host, "org/private:v1", credentials=f"{USERNAME}:{PASSWORD}")
    manifest = mirrors.url(0, host, "org/private", "manifests/v1")
    refused = mirrors.web.get(manifest)
    assert code(refused) == (401, "UNAUTHORIZED")
    assert refused.headers["WWW-Authenticate"].startswith(f'Bearer realm="{mirrors.urls[0]}/v2/_token"')
    registry.clear_log()
    given = f"--src-creds={USERNAME}:{PASSWORD}"
    assert mirrors.copy(0, host, "org/private:v1", tmp_path / "copy", "--all", given) == image.blobs
    assert bytes_read(registry) == sizes(image.blobs)
    # All of it is here now, and for them alone.
    for wrong in ([], ["--src-creds=ada:wrong"], ["--src-creds=eve:wrong"]):
        with pytest.raises(AssertionError, match=r"(?i)unauthorized|authentication required"):
            mirrors.copy(0, host, "org/private:v1", tmp_path / "refused", "--all", *wrong)
    for digest in image.blobs:
        kinds = ("blobs", "manifests")
        answers = [mirrors.web.get(mirrors.url(0, host, "org/private", f"{kind}/{digest}")) for kind in kinds]
        assert [answer.status_code for answer in answers] == [401, 401]
    direct = mirrors.web.get(manifest, auth=(USERNAME, PASSWORD))
    assert direct.status_code == 200


def test_tokens_stand_for_what_they_were_given_for(mirrors: Mirrors) -> None:
    url = mirrors.urls[0]
    ping = mirrors.web.get(f"{url}/v2/")
    assert code(ping) == (401, "UNAUTHORIZED")
    assert f'realm="{url}/v2/_token"' in ping.headers["WWW-Authenticate"]
    for given in (None, ("ada", "secret")):
        token = mirrors.web.get(f"{url}/v2/_token", auth=given).json()["token"]
        assert "secret" not in token
        assert mirrors.web.get(f"{url}/v2/", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    for unknown in ("Bearer made-up", "Basic %", "Negotiate abc"):
        answer = mirrors.web.get(f"{url}/v2/", headers={"Authorization": unknown})
        assert code(answer) == (401, "UNAUTHORIZED")
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_an_unsigned_image_where_the_agents_policy_asks_for_signatures(mirrors: Mirrors, tmp_path: Path) -> None:
    image, host = image_layout(tmp_path / "image", "unsigned", {"linux/amd64": 2}), mirrors.registry.host
    push(image, host, "guarded/unsigned:v1")
    mirrors.registry.clear_log()
    refused = mirrors.web.get(mirrors.url(0, host, "guarded/unsigned", "manifests/v1"))
    assert code(refused) == (403, "DENIED")
    assert "it has no signature" in refused.text
    largest = max(image.blobs, key=lambda digest: len(image.blobs[digest]))
    assert code(mirrors.web.get(mirrors.url(0, host, "guarded/unsigned", f"blobs/{largest}"))) == (403, "DENIED")
    assert largest not in bytes_read(mirrors.registry)


def test_images_of_a_signed_index(mirrors: Mirrors, tmp_path: Path) -> None:
    image, host = image_layout(tmp_path / "image", "signed", PLATFORMS), mirrors.registry.host
    reference = push(image, host, "guarded/signed:v1")
    signed = mirrors.cluster.run(0, "sign", reference, "--key", str(mirrors.keys.secret))
    assert signed.returncode == 0, signed.stderr
    assert mirrors.copy(0, host, "guarded/signed:v1", tmp_path / "copy", "--all") == image.blobs
