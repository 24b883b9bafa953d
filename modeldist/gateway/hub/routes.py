"""The Hugging Face endpoint: from a request to its answer."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modeldist.agent.engine import Engine
from modeldist.artifact import ArtifactFile, Shard
from modeldist.errors import UNDECODABLE, ModeldistError, NotFound
from modeldist.gateway import byte_ranges
from modeldist.gateway.flights import Flights
from modeldist.gateway.hub import answers, documents
from modeldist.gateway.hub.admissions import Admissions, Refused
from modeldist.gateway.hub.kept import KeptAdmissions
from modeldist.gateway.hub.models import HubModel, HubModels
from modeldist.gateway.hub.paths import HubRequest, parse
from modeldist.gateway.hub.registries import RegistryModels, for_registries
from modeldist.gateway.oci.admissions import Admissions as OciAdmissions
from modeldist.gateway.oci.upstreams import Upstreams
from modeldist.gateway.shard_body import ShardResponse
from modeldist.origins.hub_admission import HubSays
from modeldist.origins.router import Origins
from modelpack.reference import Reference

_OTHERS = ("/datasets/", "/spaces/", "/api/datasets/", "/api/spaces/")
_MOST_PATHS = 4 << 20  # bytes of a paths-info request
_MOST_FIELDS = 100_000


class HubEndpoint:
    """Answers GET and HEAD, and POST of paths-info. One event loop. `registries`: those whose models have names here;
    none: the default one."""

    def __init__(self, engine: Engine, origins: Origins, flights: Flights, registries: Collection[str]) -> None:
        self._engine = engine
        self._flights = flights
        kept = KeptAdmissions(engine.store.root / "hub-admissions.json", time.time)
        self._admissions = Admissions(origins.hub_door(), time.monotonic, kept)
        self._models = HubModels(engine, origins)
        self._door = origins.registry_door()
        upstreams = Upstreams(self._door.default_registry, registries)
        admitted = OciAdmissions(self._door, time.monotonic)
        self._registries = RegistryModels(engine, self._models, self._door, upstreams, admitted)

    async def close(self) -> None:
        self._admissions.close()
        await self._door.close()

    async def answer(self, request: Request) -> Response:
        raw = request.scope["raw_path"].decode("latin-1").partition("?")[0]
        asked = parse(raw)
        if asked is None:
            code = "RepoNotFound" if raw.startswith(_OTHERS) else ""
            return answers.refusal(404, code, f"This endpoint serves models, and nothing at {raw[:200]}.")
        if request.method not in (("POST",) if asked.kind == "paths-info" else ("GET", "HEAD")):
            return answers.refusal(405, "", f"{request.method} is not for {raw[:200]}: models are only read here.")
        try:
            return await self._answer(request, asked)
        except Refused as refused:
            return answers.refused(refused.says)
        except _NoPaths as error:
            return answers.refusal(error.status, "", str(error))
        except ModeldistError as error:
            return answers.failed(error)

    async def _answer(self, request: Request, asked: HubRequest) -> Response:
        authorization = request.headers.get("authorization", "")
        ref = self._registries.repository(asked.repo)
        model = await self._model(asked, ref, authorization)
        commit = model.artifact.revision
        match asked.kind:
            case "resolve":
                file = model.files.get(asked.path)
                if file is None:
                    return answers.entry_not_found(asked.path, asked.repo, commit)
                if ref is not None:
                    await self._registries.admit(ref, file, authorization)
                return self._file(request, model, file)
            case "info":
                return _json(documents.info(model.artifact, blobs=_flag(request, "blobs")), commit)
            case "tree":
                found = documents.tree(model.artifact, asked.path, recursive=_flag(request, "recursive"))
                if found is None:
                    return answers.entry_not_found(asked.path, asked.repo, commit)
                return _json(found, commit)
            case _:
                return _json(documents.paths_info(model.artifact, await _paths(request)), commit)

    async def _model(self, asked: HubRequest, ref: Reference | None, authorization: str) -> HubModel:
        if ref is not None:
            return await self._registries.at(ref, asked.revision, authorization)
        if for_registries(authorization):
            authorization = ""  # which is not the hub's business
        file_path = asked.path if asked.kind == "resolve" else ""
        try:
            commit = await self._admissions.commit(asked.repo, asked.revision, authorization, file_path)
        except Refused as refused:
            if refused.says.status in (401, 404) and (why := self._registries.not_mirrored(asked.repo)):
                raise Refused(replace(refused.says, message=f"{refused.says.message.rstrip('.')}. {why}")) from None
            raise
        try:
            return await self._models.at(asked.repo, commit)
        except NotFound as error:  # a private one: the hub just told who asks that it is there
            says = HubSays(status=403, code="GatedRepo", message=answers.nodes_may_not(error))
            raise Refused(says) from error

    def _file(self, request: Request, model: HubModel, file: ArtifactFile) -> Response:
        headers = {
            "X-Repo-Commit": model.artifact.revision,
            "ETag": f'"{documents.etag(file)}"',
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "X-Content-Type-Options": "nosniff",
        }
        try:
            wanted = byte_ranges.wanted(byte_ranges.asked(request.headers, headers["ETag"]), file.size)
        except byte_ranges.Unsatisfiable:
            message = f"{file.path} has {file.size} bytes."
            return answers.refusal(416, "", message, {"Content-Range": f"bytes */{file.size}"})
        if wanted and wanted[0] and file.digest in self._flights.restarted:
            wanted = None  # what they have of it may be wrong: a whole answer has them begin again
        if request.method == "HEAD":
            return Response(None, 200, {**headers, "Content-Length": str(file.size)})
        span = wanted or (0, file.size)
        if wanted:
            headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{file.size}"
        shard = Shard(file.digest, file.size)
        return ShardResponse(
            self._engine,
            self._flights,
            lambda: self._flights.joined(model.artifact, model.key, shard, span if span[1] < file.size else None),
            span,
            206 if wanted else 200,
            headers,
            answers.failed,
        )


def _json(document: object, commit: str) -> Response:
    return Response(msgspec.json.encode(document), 200, {"X-Repo-Commit": commit}, media_type="application/json")


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("true", "1")


class _NoPaths(Exception):
    """The body of a request names none; the text says why."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


async def _paths(request: Request) -> list[str]:
    """Of a form, as huggingface_hub sends it, or of JSON. Raises _NoPaths."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_PATHS:
            raise _NoPaths(f"The paths take more than {_MOST_PATHS} bytes. Ask for fewer.", 413)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            return msgspec.json.decode(body, type=_PathsInfo).paths
        except UNDECODABLE as error:
            raise _NoPaths(f'The body does not name paths ({error}). Send {{"paths": ["config.json"]}}.') from None
    try:
        return parse_qs(body.decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS).get("paths", [])
    except ValueError:
        raise _NoPaths(f"The form has more than {_MOST_FIELDS} fields. Ask for fewer paths.", 413) from None


class _PathsInfo(msgspec.Struct):
    paths: list[str]
