"""Lint of a model in a registry: its manifest, its config, and a few kilobytes of its weights, by ranged reads."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextlib import aclosing
from typing import BinaryIO

from modelpack.blobs import MAX_SMALL_BLOB
from modelpack.chunk_table import CHUNK_TABLE_ANNOTATION
from modelpack.deviations import pointer_to
from modelpack.errors import (
    DigestMismatch,
    InvalidChunkTable,
    InvalidManifest,
    ModelPackError,
    RegistryError,
    RegistryNotFound,
    RegistryProtocolError,
    UnsupportedArtifact,
)
from modelpack.lint.files import Unreadable
from modelpack.lint.findings import Findings, Report
from modelpack.lint.models import check_model
from modelpack.manifest import Descriptor, Manifest, choose_manifest, parse_manifest
from modelpack.oci.client import RegistryClient
from modelpack.reference import Reference
from modelpack.safetensors_header import ReadRange

_WHOLE = 16 * 1024 * 1024  # bytes of a compressed archive that is still fetched as a whole
_NESTED = 4


async def lint_reference(ref: Reference, client: RegistryClient) -> Report:
    """What is wrong with the model `ref`. Raises RegistryError where the registry does not give it at all."""
    findings = Findings()
    fetched = await client.get_manifest(ref)
    digest, raw = fetched.digest, fetched.raw
    try:
        parsed = parse_manifest(raw, fetched.media_type)
        for _ in range(_NESTED):
            if isinstance(parsed, Manifest):
                break
            chosen = choose_manifest(parsed)
            inner = await client.get_manifest(ref.with_digest(chosen.digest))
            digest, raw = inner.digest, inner.raw
            parsed = parse_manifest(raw, chosen.media_type)
    except InvalidManifest as problem:
        findings.add("manifest-invalid", problem.message)
        return findings.report(str(ref), digest, "")
    except UnsupportedArtifact as problem:
        findings.add("ambiguous-index" if "models" in problem.message else "no-model", problem.message)
        return findings.report(str(ref), digest, "")
    if not isinstance(parsed, Manifest):
        findings.add("manifest-invalid", "The indexes are nested too deeply.")
        return findings.report(str(ref), digest, "")
    manifest = parsed
    if manifest.config.size > MAX_SMALL_BLOB:
        findings.add("config-invalid", f"The model config has {manifest.config.size} bytes.", pointer="/config/size")
        return findings.report(str(ref), digest, "")
    try:
        config = await client.get_blob(ref, manifest.config, MAX_SMALL_BLOB)
    except RegistryError:
        raise
    except ModelPackError as problem:  # its size or its digest
        findings.add("blob-digest", problem.message)
        return findings.report(str(ref), digest, "")
    await _check_table(ref, manifest, client, findings)
    reading = _Reading(client, ref, asyncio.get_running_loop(), findings)
    dialect = await asyncio.to_thread(check_model, raw, manifest, config, reading.reader, reading.opener, findings)
    return findings.report(str(ref), digest, dialect)


async def _check_table(ref: Reference, manifest: Manifest, client: RegistryClient, findings: Findings) -> None:
    where = pointer_to("annotations", CHUNK_TABLE_ANNOTATION)
    try:
        await client.chunk_table(ref, manifest)
    except RegistryNotFound as problem:
        findings.add("chunk-table-missing", problem.message, pointer=where)
    except (DigestMismatch, InvalidChunkTable, RegistryProtocolError) as problem:
        findings.add("chunk-table", problem.message, pointer=where)


class _Reading:
    """Ranges of blobs for rules that run in threads beside the client's event loop."""

    def __init__(
        self, client: RegistryClient, ref: Reference, loop: asyncio.AbstractEventLoop, findings: Findings
    ) -> None:
        self._client = client
        self._ref = ref
        self._loop = loop
        self._findings = findings

    def reader(self, blob: Descriptor) -> ReadRange | None:
        def read_range(start: int, length: int) -> bytes:
            fetching = asyncio.run_coroutine_threadsafe(self._fetch(blob, start, length), self._loop)
            try:
                return fetching.result()
            except RegistryNotFound as problem:
                self._findings.add("blob-missing", problem.message)
                raise Unreadable from problem
            except RegistryProtocolError as problem:
                self._findings.add("blob-size", problem.message)
                raise Unreadable from problem

        return read_range

    def opener(self, blob: Descriptor) -> Callable[[], BinaryIO] | None:
        if blob.size > _WHOLE:
            return None
        read = self.reader(blob)
        assert read is not None
        return lambda: io.BytesIO(read(0, blob.size))

    async def _fetch(self, blob: Descriptor, start: int, length: int) -> bytes:
        data = bytearray()
        if length:
            async with aclosing(
                self._client.stream_blob(self._ref, blob.digest, start, length, size=blob.size)
            ) as pieces:
                async for piece in pieces:
                    data += piece
        return bytes(data)
