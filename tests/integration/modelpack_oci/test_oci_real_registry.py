"""The client against Debian's docker-registry, with skopeo as the second opinion."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import urllib.request
from contextlib import aclosing
from pathlib import Path

import pytest

from modelpack.errors import (
    DigestMismatch,
    RegistryNotFound,
    RegistryProtocolError,
    RegistryUnauthorized,
    RegistryUnavailable,
    SizeMismatch,
)
from modelpack.layout import OciLayout
from modelpack.oci import (
    Credential,
    DockerCredentials,
    FixedCredentials,
    Progress,
    RegistryClient,
    RetryPolicy,
    pull_layout,
    push,
)
from modelpack.reference import Reference
from tests.integration.modelpack_oci.conftest import layout_of
from tests.servers.registry import PASSWORD, USERNAME, Registry
from tests.servers.token_server import REFRESH_TOKEN

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


def reference(registry: Registry, tag: str = "v1", repository: str = "org/model") -> Reference:
    return Reference(registry.host, repository, tag)


def skopeo(*arguments: str) -> bytes:
    return subprocess.run(["skopeo", *arguments], check=True, capture_output=True, timeout=60).stdout


async def test_what_was_pushed_is_pulled(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    layout, descriptor = layout_of(tmp_path / "out", files)
    steps: list[Progress] = []
    async with RegistryClient(chunk=200_000) as client:
        assert await push(layout, "v1", reference(registry), client, steps.append) == descriptor.digest
        pulled = OciLayout.create(tmp_path / "in")
        got = await pull_layout(reference(registry), pulled, client, steps.append)
    assert got.digest == descriptor.digest
    pulled.verify()
    assert pulled.resolve("v1").digest == descriptor.digest
    blobs = {step.descriptor.digest: step.descriptor.size for step in steps}
    for digest, size in blobs.items():
        assert sum(step.done for step in steps if step.descriptor.digest == digest) == 2 * size
    assert registry.blob_bytes() == sum(blobs.values())
    assert sum(access.method == "PATCH" for access in registry.access_log()) == 4  # 700,000 bytes in 200,000s


async def test_nothing_is_sent_twice_but_the_tag_moves(
    registry: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, first = layout_of(tmp_path / "out", files, "old")
    _, second = layout_of(tmp_path / "out", {**files, "config.json": b"{}"}, "new")
    async with RegistryClient() as client:
        await push(layout, "old", reference(registry, "old"), client)
        await push(layout, "new", reference(registry), client)
        assert (await client.head_manifest(reference(registry))).digest == second.digest
        registry.clear_log()
        steps: list[Progress] = []
        await push(layout, "old", reference(registry), client, steps.append)
        assert (await client.head_manifest(reference(registry))).digest == first.digest
    assert {step.how for step in steps} == {"present"}
    assert [access.method for access in registry.access_log() if access.method != "HEAD"] == ["PUT"]


async def test_blobs_are_mounted_from_a_sibling(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    layout, _ = layout_of(tmp_path / "out", files)
    steps: list[Progress] = []
    async with RegistryClient() as client:
        await push(layout, "v1", reference(registry), client)
        other = reference(registry, repository="org/other")
        await push(layout, "v1", other, client, steps.append, mount_from=["org/nothing", "org/model", "org/other"])
        assert {step.how for step in steps} == {"mounted"}
        assert await client.list_tags(other) == ["v1"]


@needs_skopeo
async def test_skopeo_reads_what_was_pushed(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    layout, descriptor = layout_of(tmp_path / "out", files)
    async with RegistryClient(chunk=100_000) as client:
        await push(layout, "v1", reference(registry), client)
    source = f"docker://{registry.host}/org/model:v1"
    raw = skopeo("inspect", "--raw", "--tls-verify=false", source)
    assert "sha256:" + hashlib.sha256(raw).hexdigest() == descriptor.digest
    skopeo("copy", "--src-tls-verify=false", source, f"oci:{tmp_path}/copy:v1")
    copied = OciLayout.open(tmp_path / "copy")
    copied.verify()
    assert copied.resolve("v1").digest == descriptor.digest


@needs_skopeo
async def test_what_skopeo_pushed_is_pulled(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    _, descriptor = layout_of(tmp_path / "out", files)
    target = f"docker://{registry.host}/org/model:v1"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path}/out:v1", target)
    async with RegistryClient() as client:
        pulled = OciLayout.create(tmp_path / "in")
        await pull_layout(reference(registry), pulled, client, name="mine")
    assert pulled.resolve("mine").digest == descriptor.digest
    pulled.verify()


async def test_ranges_of_blobs(registry: Registry) -> None:
    data = bytes(range(256)) * 1000
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    ref = reference(registry)
    async with RegistryClient() as client:
        await client.upload_blob(ref, data, digest, len(data))
        assert await client.has_blob(ref, digest)
        assert not await client.has_blob(ref, "sha256:" + "0" * 64)

        async def read(start: int, length: int | None) -> bytes:
            async with aclosing(client.stream_blob(ref, digest, start, length)) as pieces:
                return b"".join([piece async for piece in pieces])

        assert await read(0, None) == data
        assert await read(1000, 5) == data[1000:1005]
        assert await read(255_000, None) == data[255_000:]
        assert await read(10, 0) == b""
        with pytest.raises(RegistryProtocolError, match="no byte 300000"):
            await read(300_000, 5)


async def test_a_sha512_blob(registry: Registry) -> None:
    digest = "sha512:" + hashlib.sha512(b"weights").hexdigest()
    async with RegistryClient() as client:
        await client.upload_blob(reference(registry), b"weights", digest, 7)
        assert await client.has_blob(reference(registry), digest)


async def test_a_blob_is_located_without_reading_it(registry: Registry) -> None:
    data = b"w" * 100_000
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    async with RegistryClient() as client:
        await client.upload_blob(reference(registry), data, digest, len(data))
        registry.clear_log()
        location = await client.locate_blob(reference(registry), digest)
    assert registry.blob_bytes() == 0
    assert location.headers == {}
    assert location.url == f"{registry.url}/v2/org/model/blobs/{digest}"
    request = urllib.request.Request(location.url, headers={"Range": "bytes=5-9"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.read() == b"wwwww"


async def test_the_size_of_a_blob(registry: Registry) -> None:
    data = b"w" * 100_000
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    async with RegistryClient() as client:
        await client.upload_blob(reference(registry), data, digest, len(data))
        registry.clear_log()
        assert await client.blob_size(reference(registry), digest) == len(data)
        with pytest.raises(RegistryNotFound, match="no blob sha256:000"):
            await client.blob_size(reference(registry), "sha256:" + "0" * 64)
    assert registry.blob_bytes() == 0


async def test_wrong_names_are_told_apart(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    layout, _ = layout_of(tmp_path / "out", files)
    async with RegistryClient() as client:
        await push(layout, "v1", reference(registry), client)
        for ask in (client.get_manifest, client.head_manifest):
            with pytest.raises(RegistryNotFound, match=f"{registry.host} has no tag v9 in the repository org/model"):
                await ask(reference(registry, "v9"))
        with pytest.raises(RegistryNotFound, match="no repository org/nothing") as caught:
            await client.list_tags(reference(registry, repository="org/nothing"))
        assert caught.value.what == "repository"
        with pytest.raises(RegistryNotFound, match="no blob sha256:000"):
            await client.locate_blob(reference(registry), "sha256:" + "0" * 64)


async def test_manifests_that_are_refused(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    layout, descriptor = layout_of(tmp_path / "out", files)
    raw = layout.blobs.read(descriptor)
    async with RegistryClient() as client:
        with pytest.raises(RegistryProtocolError, match=r"answers 400 for .*org/model:v1. It said: blob unknown"):
            await client.put_manifest(reference(registry), raw, descriptor.media_type)
        with pytest.raises(DigestMismatch, match="promised was sha256:000"):
            pinned = reference(registry).with_digest("sha256:" + "0" * 64)
            await client.put_manifest(pinned, raw, descriptor.media_type)


async def test_a_registry_that_is_gone(registry: Registry) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    gone = f"{registry.host} cannot be reached for .*org/model:v1: Connection refused"
    async with RegistryClient(retry=RetryPolicy(attempts=6, sleep=sleep)) as client:
        await client.check_access(registry.host)
        registry.stop()
        with pytest.raises(RegistryUnavailable, match=gone):
            await client.head_manifest(reference(registry))
        assert len(slept) == 5  # it may be restarting
    async with RegistryClient(retry=RetryPolicy(attempts=6, sleep=sleep)) as client:
        with pytest.raises(RegistryUnavailable, match=gone):
            await client.head_manifest(reference(registry))
    assert len(slept) == 5 + 2  # it may be mistyped


async def test_it_waits_for_a_registry_that_comes_back(
    registry: Registry, files: dict[str, bytes], tmp_path: Path
) -> None:
    layout, descriptor = layout_of(tmp_path / "out", files)

    async def sleep(_: float) -> None:
        registry.start()

    async with RegistryClient(retry=RetryPolicy(sleep=sleep)) as client:
        await push(layout, "v1", reference(registry), client)
        registry.stop()
        assert (await client.get_manifest(reference(registry))).digest == descriptor.digest


async def test_basic_credentials_from_the_docker_config(files: dict[str, bytes], tmp_path: Path) -> None:
    layout, descriptor = layout_of(tmp_path / "out", files)
    credentials = DockerCredentials((tmp_path / "config.json",))
    with Registry(tmp_path / "registry", auth="basic") as registry:
        ref = reference(registry)
        async with RegistryClient(credentials=credentials) as client:
            with pytest.raises(RegistryUnauthorized, match=f"Log in to {registry.host}"):
                await client.check_access(registry.host)
            await credentials.login(registry.host, Credential(USERNAME, "wrong"))
            with pytest.raises(RegistryUnauthorized, match="refuses the credentials") as caught:
                await client.get_manifest(ref)
            assert "wrong" not in str(caught.value)
            await credentials.login(registry.host, Credential(USERNAME, PASSWORD))
            await client.check_access(registry.host)
            await push(layout, "v1", ref, client)
            assert (await client.head_manifest(ref)).digest == descriptor.digest
            location = await client.locate_blob(ref, layout.manifest("v1")[1].config.digest)
    assert location.headers["Authorization"].startswith("Basic ")
    assert location.expires_in is None
    assert location.headers["Authorization"] not in repr(location)


@pytest.mark.parametrize("credential", [Credential(USERNAME, PASSWORD), Credential(identity_token=REFRESH_TOKEN)])
async def test_tokens(credential: Credential, files: dict[str, bytes], tmp_path: Path) -> None:
    layout, descriptor = layout_of(tmp_path / "out", files)
    with Registry(tmp_path / "registry", auth="token") as registry:
        assert registry.tokens is not None
        ref = reference(registry)
        async with RegistryClient(credentials=FixedCredentials({registry.host: credential})) as client:
            await push(layout, "v1", ref, client, mount_from=["org/sibling"])
            location = await client.locate_blob(ref, layout.manifest("v1")[1].layers[0].digest)
        assert 200 < (location.expires_in or 0) <= 300
        with urllib.request.urlopen(urllib.request.Request(location.url, headers=dict(location.headers))) as answer:
            assert answer.read() == files["model.safetensors"]
        asked = registry.tokens.requests
        # one token for each scope, however many blobs there were
        assert sorted(request.scopes for request in asked) == [
            ("repository:org/model:pull",),
            ("repository:org/model:pull,push",),
            ("repository:org/model:pull,push", "repository:org/sibling:pull"),
        ]
        assert {request.user for request in asked} == {USERNAME}

        async with RegistryClient() as stranger:  # strangers get tokens for less than they asked for
            pulled = OciLayout.create(tmp_path / "in")
            assert (await pull_layout(ref, pulled, stranger)).digest == descriptor.digest
            with pytest.raises(RegistryUnauthorized, match="asks for credentials for blob"):
                await stranger.upload_blob(ref, b"x", "sha256:" + hashlib.sha256(b"x").hexdigest(), 1)


async def test_a_wrong_password_at_the_token_server(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry", auth="token") as registry:
        credentials = FixedCredentials({registry.host: Credential(USERNAME, "wrong")})
        async with RegistryClient(credentials=credentials) as client:
            with pytest.raises(RegistryUnauthorized, match=f"{registry.host} refuses the credentials"):
                await client.check_access(registry.host)


async def test_too_large_and_damaged_documents(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    layout, _ = layout_of(tmp_path / "out", files)
    async with RegistryClient() as client:
        await push(layout, "v1", reference(registry), client)
        config = layout.manifest("v1")[1].config
        raw = await client.get_blob(reference(registry), config, 10_000)
        assert json.loads(raw)["descriptor"] == {"name": "m"}
        with pytest.raises(SizeMismatch, match="at most 10 are read"):
            await client.get_blob(reference(registry), config, 10)


async def test_referrers_by_the_fallback_tag(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    layout, descriptor = layout_of(tmp_path / "out", files)
    ref = reference(registry)
    async with RegistryClient() as client:
        await push(layout, "v1", ref, client)
        assert await client.referrers(ref) == ()
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {
                    "mediaType": descriptor.media_type,
                    "digest": descriptor.digest,
                    "size": descriptor.size,
                    "artifactType": kind,
                }
                for kind in ("text/signature", "text/other")
            ],
        }
        tagged = ref.with_tag(descriptor.digest.replace(":", "-"))
        await client.put_manifest(tagged, json.dumps(index).encode(), str(index["mediaType"]))
        assert [entry.artifact_type for entry in await client.referrers(ref)] == ["text/signature", "text/other"]
        pinned = ref.with_digest(descriptor.digest)
        assert [entry.artifact_type for entry in await client.referrers(pinned, "text/other")] == ["text/other"]
