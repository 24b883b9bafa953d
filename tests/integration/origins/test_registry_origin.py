"""A real docker-registry as the origin: the conformance suite, its own access log, its own authentication."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import pytest

from modeldist.errors import AuthenticationRequired
from modeldist.origins.router import Origins
from modeldist.origins.settings import HttpSettings, OriginSettings
from modelpack.build import build
from modelpack.layout import OciLayout
from modelpack.oci.client import RegistryClient
from modelpack.oci.credentials import Credential, Credentials, FixedCredentials
from modelpack.oci.transfer import push
from modelpack.reference import Reference
from tests.servers.registry import PASSWORD, USERNAME, Registry
from tests.unit.origins.conformance import FILES, OriginConformance, Place, ReadRange
from tests.unit.origins.conftest import read_range  # noqa: F401 - a fixture

QUICK = HttpSettings(retries=2, backoff=0.01)


async def publish(registry: Registry, work: Path, files: dict[str, bytes], credentials: Credentials) -> None:
    home = work / "files"
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    layout = OciLayout.create(work / "layout")
    build(home, layout, ref="v1")
    async with RegistryClient(credentials=credentials) as client:
        await push(layout, "v1", Reference.parse(f"{registry.host}/org/model:v1"), client)


def known(registry: Registry) -> FixedCredentials:
    return FixedCredentials({registry.host: Credential(USERNAME, PASSWORD)})


def origins_with(credentials: Credentials) -> Origins:
    return Origins(OriginSettings(http=QUICK, registry_credentials=credentials))


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(storage: Path) -> Iterator[Registry]:
    with Registry(storage) as made:
        yield made


class TestDockerRegistry(OriginConformance):
    @pytest.fixture
    async def place(self, registry: Registry, storage: Path, tmp_path: Path) -> AsyncIterator[Place]:
        await publish(registry, tmp_path / "v1", FILES, FixedCredentials({}))
        origins = origins_with(FixedCredentials({}))
        small = tmp_path / "small"

        async def republish() -> None:
            await publish(registry, small, {"config.json": b"{}"}, FixedCredentials({}))

        def move() -> None:
            thread = threading.Thread(target=asyncio.run, args=(republish(),))  # a loop is running in this one
            thread.start()
            thread.join()

        def spoil() -> None:
            weights = max(storage.rglob("data"), key=lambda path: path.stat().st_size)
            weights.write_bytes(bytes(weights.stat().st_size))

        yield Place(origins, f"{registry.host}/org/model:v1", f"{registry.host}/org/model:v9", move=move, spoil=spoil)
        await origins.close()


@pytest.mark.parametrize("auth", ["basic", "token"])
async def test_the_registrys_own_log_agrees(
    tmp_path: Path,
    auth: Literal["basic", "token"],
    read_range: ReadRange,  # noqa: F811
) -> None:
    with Registry(tmp_path / "registry", auth=auth) as registry:
        await publish(registry, tmp_path / "v1", FILES, known(registry))
        stranger, origins = origins_with(FixedCredentials({})), origins_with(known(registry))
        if auth == "basic":
            with pytest.raises(AuthenticationRequired, match=registry.host):
                await stranger.resolve(f"{registry.host}/org/model:v1")
        artifact = await origins.resolve(f"{registry.host}/org/model:v1")
        registry.clear_log()
        reader = origins.reader(artifact)
        for shard in artifact.shards:
            for start in range(0, shard.size, 1 << 20):
                read_range(reader, shard.digest, start, min(1 << 20, shard.size - start))
        reader.close()
        assert registry.blob_bytes() == artifact.size
        blobs = [access for access in registry.access_log() if access.blob and access.method == "GET"]
        assert len(blobs) == sum(-(-shard.size // (1 << 20)) for shard in artifact.shards)
        await stranger.close()
        await origins.close()
