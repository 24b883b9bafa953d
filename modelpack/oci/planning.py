"""The plan of a model in a registry, by ranged reads of headers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from modelpack.oci.client import RegistryClient
from modelpack.oci.reading import read_model
from modelpack.plan.files import FetchPlan, ListedFile, listed_files
from modelpack.plan.planning import plan_fetch
from modelpack.plan.selection import Selection
from modelpack.reference import Reference
from modelpack.tensors.entries import ReadRange


async def plan_in_registry(ref: Reference, client: RegistryClient, selection: Selection | None = None) -> FetchPlan:
    """What `selection` (everything, if none) needs of the model `ref`, whose digest the plan pins.

    Two or three requests, and for tensors or a rank one or two for each weight file beside its chunk table's.
    Raises InvalidSelection, RegistryError, what is wrong with the model, and what `plan_fetch` raises.
    """
    wanted = selection or Selection()
    model = await read_model(ref, client, mode="lenient")
    table = await client.chunk_table(ref, model.manifest) if wanted.needs_headers else None
    loop = asyncio.get_running_loop()

    def open_ranges(file: ListedFile) -> ReadRange:
        def read(start: int, length: int) -> bytes:
            return asyncio.run_coroutine_threadsafe(_read(client, ref, file, start, length), loop).result()

        return read

    return await asyncio.to_thread(
        plan_fetch,
        listed_files(model.artifact, (f"{client.endpoint(ref.registry)}/v2/{ref.repository}/blobs/",)),
        wanted,
        open_ranges,
        provable=lambda digest: table is not None and table.of(digest) is not None,
        reference=str(ref),
        digest=model.descriptor.digest,
    )


async def _read(client: RegistryClient, ref: Reference, file: ListedFile, start: int, length: int) -> bytes:
    found = bytearray()
    if length:
        async with aclosing(client.stream_blob(ref, file.digest, start, length, size=file.size)) as pieces:
            async for piece in pieces:
                found += piece
    return bytes(found)
