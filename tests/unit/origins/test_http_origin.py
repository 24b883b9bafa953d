"""Single files by URL: what servers say about themselves, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modeldist.errors import InvalidReference, UnsafeArtifact, Unsupported
from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from tests.servers.files import FaultyFiles
from tests.servers.loopback_http import Fault
from tests.unit.origins.conformance import ReadRange
from tests.unit.origins.conftest import QUICK

BODY = b"0123456789" * 10


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    with FaultyFiles({"a.bin": BODY, "empty.bin": b""}) as made:
        yield made


@pytest.fixture
def origins() -> Origins:
    return Origins(OriginSettings(http=QUICK))


async def test_no_digest_at_the_origin_is_worth_a_warning(files: FaultyFiles, origins: Origins) -> None:
    artifact = await origins.resolve(f"{files.url}/a.bin?token=1")
    assert "#sha256=" in artifact.warnings[0]
    assert artifact.files[0].path == "a.bin"
    assert (artifact.size, artifact.tag, artifact.endpoint) == (100, "main", files.url)
    assert [r.method for r in files.requests] == ["HEAD"]


@pytest.mark.parametrize("fault", [Fault(status=405), Fault(status=501), Fault(status=403)])
async def test_servers_that_refuse_head_are_asked_for_a_byte(
    files: FaultyFiles, origins: Origins, fault: Fault, read_range: ReadRange
) -> None:
    fault.method, fault.times = "HEAD", 9
    files.fail(fault)
    artifact = await origins.resolve(f"{files.url}/a.bin")
    assert artifact.size == 100
    reader = origins.reader(artifact)
    assert read_range(reader, artifact.files[0].digest, 0, 100) == BODY
    reader.close()


async def test_servers_that_do_not_announce_ranges_are_asked_for_a_byte(files: FaultyFiles, origins: Origins) -> None:
    files.headers["Accept-Ranges"] = ""
    assert (await origins.resolve(f"{files.url}/a.bin")).size == 100
    assert files.requests[-1].range == (0, 0)


async def test_servers_without_ranges_are_refused(files: FaultyFiles, origins: Origins) -> None:
    files.headers["Accept-Ranges"] = "none"
    files.fail(Fault(ignore_range=True, method="GET"))
    with pytest.raises(Unsupported, match="byte ranges") as caught:
        await origins.resolve(f"{files.url}/a.bin")
    assert "nginx" in caught.value.remedy


async def test_content_that_cannot_be_pinned_is_refused(files: FaultyFiles, origins: Origins) -> None:
    files.headers["ETag"] = 'W/"weak"'
    with pytest.raises(Unsupported, match="neither a strong ETag") as caught:
        await origins.resolve(f"{files.url}/a.bin")
    assert "#sha256=" in caught.value.remedy


async def test_an_empty_file(files: FaultyFiles, origins: Origins) -> None:
    assert (await origins.resolve(f"{files.url}/empty.bin")).size == 0


async def test_passing_failures_are_waited_out(files: FaultyFiles, origins: Origins) -> None:
    files.fail(Fault(status=503, times=2))
    assert (await origins.resolve(f"{files.url}/a.bin")).size == 100


async def test_redirects_to_plain_hosts_elsewhere_do_not_change_the_name(files: FaultyFiles, origins: Origins) -> None:
    files.redirects["latest.bin"] = "/a.bin"
    artifact = await origins.resolve(f"{files.url}/latest.bin")
    assert artifact.name == f"{files.url}/latest.bin"
    assert artifact.files[0].path == "latest.bin"


async def test_hostile_names(files: FaultyFiles, origins: Origins) -> None:
    files.files["a%5Cb"] = BODY
    with pytest.raises(UnsafeArtifact):
        await origins.resolve(f"{files.url}/a%5Cb")


async def test_an_artifact_from_elsewhere_does_not_bring_plain_http(
    files: FaultyFiles, origins: Origins, read_range: ReadRange
) -> None:
    import msgspec

    artifact = await origins.resolve(f"{files.url}/a.bin")
    file = msgspec.structs.replace(artifact.files[0], locator="http://registry.example/a.bin")
    hostile = msgspec.structs.replace(artifact, files=(file,))
    with pytest.raises(InvalidReference, match="plain HTTP"):
        read_range(origins.reader(hostile), file.digest, 0, 1)
