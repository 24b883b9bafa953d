"""The OCI mirror: from a request to its answer."""

from __future__ import annotations

import time
from collections.abc import Collection
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modeldist.agent.engine import Engine
from modeldist.errors import ModeldistError
from modeldist.gateway import byte_ranges
from modeldist.gateway.flights import Flights
from modeldist.gateway.oci import answers, paths
from modeldist.gateway.oci.admissions import Admissions, Caller
from modeldist.gateway.oci.callers import LIFE, Callers, UnknownToken
from modeldist.gateway.oci.manifests import Held, Manifests
from modeldist.gateway.oci.paths import OciRequest
from modeldist.gateway.oci.upstreams import NotMirrored, Upstreams
from modeldist.gateway.shard_body import ShardResponse
from modeldist.origins.router import Origins
from modelpack.digests import digest_problem
from modelpack.errors import ModelPackError
from modelpack.manifest import Index, encode_manifest
from modelpack.mediatypes import OCI_INDEX
from modelpack.reference import Reference

_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}


class OciEndpoint:
    """Answers GET and HEAD. One event loop. `registries`: those that are mirrored; none: the default one.

    Raises UsageError for what is no registry.
    """

    def __init__(self, engine: Engine, origins: Origins, flights: Flights, registries: Collection[str]) -> None:
        self._engine = engine
        self._flights = flights
        self._door = origins.registry_door()
        self._upstreams = Upstreams(self._door.default_registry, registries)
        self._callers = Callers()
        self._admissions = Admissions(self._door, time.monotonic)
        self._blobs = origins.blobs()
        self._manifests = Manifests(engine, self._blobs, flights)

    @property
    def registries(self) -> tuple[str, ...]:
        """What is mirrored."""
        return self._upstreams.names

    async def close(self) -> None:
        await self._door.close()

    async def answer(self, request: Request) -> Response:
        response = await self._answer(request)
        response.headers.update(_VERSION)
        return response

    async def _answer(self, request: Request) -> Response:
        raw = request.scope["raw_path"].decode("latin-1").partition("?")[0]
        asked = paths.parse(raw)
        if request.method not in ("GET", "HEAD"):
            message = f"{request.method}: this mirror is read-only. Push to the registry itself."
            return answers.refusal(405, "UNSUPPORTED", message, {"Allow": "GET, HEAD"})
        if asked is None or asked.kind == "upload":
            return answers.refusal(404, "UNSUPPORTED", f"A mirror has nothing at {raw[:200]}.")
        authorization = request.headers.get("authorization", "")
        try:
            caller = self._callers.credential(authorization)
            if asked.kind == "token":
                return self._token(authorization)
            if asked.kind == "base":
                return _json({}) if authorization else self._who_are_you(request)
        except UnknownToken:
            return self._who_are_you(request, asked)
        return await self._of_a_repository(request, asked, caller)

    async def _of_a_repository(self, request: Request, asked: OciRequest, caller: Caller) -> Response:
        try:
            return await self._found(request, asked, caller)
        except NotMirrored as refused:
            return answers.refusal(403, "DENIED", str(refused))
        except _NoDigest as error:
            return answers.refusal(400, "DIGEST_INVALID", str(error))
        except ModelPackError as error:
            return answers.refused(error, _challenge(request, asked))
        except ModeldistError as error:
            return answers.failed(error)

    async def _found(self, request: Request, asked: OciRequest, caller: Caller) -> Response:
        """Raises NotMirrored, _NoDigest, ModelPackError, ModeldistError."""
        ref = self._upstreams.repository(asked.name, request.query_params.get("ns"))
        match asked.kind:
            case "manifest":
                return await self._manifest(request, _versioned(ref, asked.version), caller)
            case "blob":
                return await self._blob(request, _pinned(ref, asked.version), caller)
            case "tags":
                return await self._tags(request, asked, ref, caller)
            case _:
                return await self._referrers(request, _pinned(ref, asked.version), caller)

    # --- who asks ---

    def _token(self, authorization: str) -> Response:
        token = self._callers.token(authorization)
        return _json({"token": token, "access_token": token, "expires_in": int(LIFE)})

    @staticmethod
    def _who_are_you(request: Request, asked: OciRequest | None = None) -> Response:
        challenge = _challenge(request, asked)
        if request.headers.get("authorization"):
            challenge += ',error="invalid_token"'
        return answers.refusal(401, "UNAUTHORIZED", "Get a token first.", {"WWW-Authenticate": challenge})

    # --- what they ask for ---

    async def _manifest(self, request: Request, ref: Reference, caller: Caller) -> Response:
        head = await self._admissions.manifest(ref, caller)
        self._lend(ref, caller)
        headers = {
            "Docker-Content-Digest": head.digest,
            "Content-Type": head.media_type,
            "ETag": f'"{head.digest}"',
            "X-Content-Type-Options": "nosniff",
        }
        if request.method == "HEAD":
            return Response(None, 200, {**headers, "Content-Length": str(head.size)})
        pinned = Reference(ref.registry, ref.repository, digest=head.digest)
        return Response(await self._manifests.read(pinned, head), 200, headers)

    async def _blob(self, request: Request, ref: Reference, caller: Caller) -> Response:
        held = await self._manifests.holding(ref)
        size = await self._admissions.blob(ref, caller, held.shard.size if held else None)
        self._lend(ref, caller)
        return self._bytes(request, held or self._manifests.alone(ref, size))

    def _lend(self, ref: Reference, caller: Caller) -> None:
        """Whom the registry let in: what is missing is read as they would."""
        if caller is not None:
            self._blobs.lend(ref, caller)

    def _bytes(self, request: Request, held: Held) -> Response:
        size, digest = held.shard.size, held.shard.digest
        headers = {
            "Docker-Content-Digest": digest,
            "Content-Type": "application/octet-stream",
            "ETag": f'"{digest}"',
            "Accept-Ranges": "bytes",
            "X-Content-Type-Options": "nosniff",
        }
        if request.method == "HEAD":
            return Response(None, 200, {**headers, "Content-Length": str(size)})
        try:
            wanted = byte_ranges.wanted(byte_ranges.asked(request.headers, headers["ETag"]), size)
        except byte_ranges.Unsatisfiable:
            message = f"{digest} has {size} bytes."
            return answers.refusal(416, "SIZE_INVALID", message, {"Content-Range": f"bytes */{size}"})
        span = wanted or (0, size)
        if wanted:
            headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{size}"
        return ShardResponse(
            self._engine,
            self._flights,
            lambda: self._flights.joined(held.artifact, held.artifact.reference, held.shard),
            span,
            206 if wanted else 200,
            headers,
            answers.failed,
        )

    async def _tags(self, request: Request, asked: OciRequest, ref: Reference, caller: Caller) -> Response:
        async with self._door.client_of(caller) as client:
            tags = await client.list_tags(ref)
        page, more = _page(tags, request.query_params.get("n", ""), request.query_params.get("last", ""))
        headers = {}
        if more:
            ns = request.query_params.get("ns")
            query = urlencode({"n": len(page), "last": page[-1], **({"ns": ns} if ns else {})})
            headers["Link"] = f'</v2/{asked.name}/tags/list?{query}>; rel="next"'
        return _json({"name": asked.name, "tags": page}, headers)

    async def _referrers(self, request: Request, ref: Reference, caller: Caller) -> Response:
        kind = request.query_params.get("artifactType", "")
        async with self._door.client_of(caller) as client:
            found = await client.referrers(ref, kind)
        index = encode_manifest(Index(schema_version=2, media_type=OCI_INDEX, manifests=found))
        filtered = {"OCI-Filters-Applied": "artifactType"} if kind else {}
        return Response(index, 200, {**filtered, "Content-Type": OCI_INDEX})


class _NoDigest(Exception):
    """What should be a digest is none."""


def _versioned(ref: Reference, version: str) -> Reference:
    """Raises _NoDigest, modelpack's InvalidReference."""
    return _pinned(ref, version) if ":" in version else ref.with_tag(version)


def _pinned(ref: Reference, digest: str) -> Reference:
    if problem := digest_problem(digest):
        raise _NoDigest(f"{digest[:100]!r} is not a digest: {problem}.")
    return Reference(ref.registry, ref.repository, digest=digest)


def _challenge(request: Request, asked: OciRequest | None = None) -> str:
    realm = f"http://{request.headers.get('host', '')}{paths.TOKENS}"
    scope = f',scope="repository:{asked.name}:pull"' if asked and asked.name else ""
    return f'Bearer realm="{realm}",service="modeldist"{scope}'


def _page(tags: list[str], count: str, last: str) -> tuple[list[str], bool]:
    """(tags behind `last` in their order, at most `count`; whether there are more)."""
    tags = sorted(tags)
    behind = [tag for tag in tags if tag > last] if last else tags
    limit = int(count) if count.isascii() and count.isdigit() and len(count) < 10 else len(behind)
    return behind[:limit], 0 < limit < len(behind)


def _json(document: object, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), 200, headers, media_type="application/json")
