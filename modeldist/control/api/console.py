"""/console/: the files of the web page. They hold no data, so they are for everybody; what they show, they ask of the
API with the token of whoever looks.

All of them are read when the process starts, and only their exact paths answer: nothing of a path leads to a file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

HOME = "/console/"
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",  # asked for again, and answered 304: after an upgrade nobody runs an old page
}


@dataclass(frozen=True)
class StaticFile:
    kind: str
    content: bytes
    etag: str


def _read(folder: Traversable, prefix: str = "") -> dict[str, StaticFile]:
    """By their path under `HOME`; what is of no kind that is served is not."""
    found: dict[str, StaticFile] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= _read(entry, f"{prefix}{entry.name}/")
        elif kind := KINDS.get("." + entry.name.rpartition(".")[2]):
            content = entry.read_bytes()
            found[prefix + entry.name] = StaticFile(kind, content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


_FILES = {HOME + path: file for path, file in _read(files("modeldist.control") / "console").items()}
_FILES[HOME] = _FILES.pop(f"{HOME}index.html")

CONSOLE_PATHS = frozenset({*_FILES, HOME.rstrip("/")})
"""What answers without a token."""


async def _to_console(request: Request) -> Response:
    return RedirectResponse("console/", 308, HEADERS)


def way_in(scope: Scope) -> Response | None:
    """For a browser that was given nothing but the control plane's address: the way to the console. Everybody else is
    answered there as everywhere."""
    if scope["type"] != "http" or scope["path"] != "/" or scope["method"] not in ("GET", "HEAD"):
        return None
    if "text/html" not in Headers(scope=scope).get("accept", "").lower():
        return None
    return RedirectResponse("console/", 307, HEADERS | {"Cache-Control": "no-store", "Vary": "Accept"})


async def _console(request: Request) -> Response:
    file = _FILES.get(request.scope["path"])
    if file is None:
        raise HTTPException(404)
    headers = HEADERS | {"ETag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, 200, headers, file.kind)


router = APIRouter()
router.add_route("/console", _to_console, methods=["GET"])
router.add_route("/console/{path:path}", _console, methods=["GET"])
