"""What a process that lives long imports beforehand is all that its first pull needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from modelpack.oci.credentials import FixedCredentials
from tests.integration.origins.test_registry_origin import publish
from tests.servers.registry import Registry

_PULL = """
import asyncio, os, sys
from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings

async def pull(reference, target):
    origins = Origins(OriginSettings())
    await origins.prepare()
    before = set(sys.modules)
    artifact = await origins.resolve(reference)
    shard = artifact.shards[0]
    fd = os.open(target, os.O_RDWR | os.O_CREAT)
    reader = origins.reader(artifact)
    await asyncio.to_thread(reader.read, shard.digest, 0, shard.size, fd, 0, lambda _: None)
    reader.close()
    for name in sorted(set(sys.modules) - before):
        print(name)
    await origins.close()

asyncio.run(pull(*sys.argv[1:]))
"""


async def test_the_first_pull_imports_nothing_of_ours_or_of_libraries(registry: Registry, tmp_path: Path) -> None:
    await publish(registry, tmp_path, {"weights.bin": bytes(range(256)) * 64}, FixedCredentials({}))
    reference = f"{registry.host}/org/model:v1"
    command = [sys.executable, "-c", _PULL, reference, str(tmp_path / "target")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    late = [name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names]
    assert not late, ", ".join(late)
    assert (tmp_path / "target").stat().st_size
