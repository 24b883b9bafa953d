"""A ModelScope shaped server on loopback, for tests of everything that speaks to it.

    with ModelScope() as hub:
        hub.commit("org/model", {"config.json": b"{}", "model.safetensors": Path("big")})
        MODELSCOPE_ENDPOINT = hub.url

It answers `/repo/files` as its own client expects (recursive or not, below `Root`, cut off at 3,000 entries without a
word) and `/repo`, which with `cdn=True` redirects LFS files to links on another port. A token counts as a bearer or as
a session's cookie.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.servers.hub import Cdn, HubFile, is_lfs
from tests.servers.loopback_http import Content, Exchange, LoopbackServer

MOST = 3000


class ModelScope(LoopbackServer):
    """`repos`: files by repository and revision. `tweaks`: members of listed entries to replace, by path."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, cdn: bool = False) -> None:
        self.repos: dict[str, dict[str, dict[str, HubFile]]] = {}
        self.tweaks: dict[str, dict[str, Any]] = {}
        self.cdn = Cdn(host) if cdn else None
        self._readers: dict[str, frozenset[str]] = {}
        super().__init__(host, port)

    def commit(self, repo_id: str, files: Mapping[str, Content], *, revision: str = "master") -> None:
        """Let `revision` have these files and no others."""
        made = {path: HubFile.of(content, lfs=True) for path, content in sorted(files.items())}
        self.repos.setdefault(repo_id, {})[revision] = made

    def restrict(self, repo_id: str, tokens: Iterable[str]) -> None:
        """Only these tokens read it."""
        self._readers[repo_id] = frozenset(tokens)

    def close(self) -> None:
        super().close()
        if self.cdn:
            self.cdn.close()

    def answer(self, exchange: Exchange) -> None:
        match exchange.url_path.strip("/").split("/"):
            case ["api", "v1", "models", owner, name, "repo", *rest] if rest in ([], ["files"]):
                repo_id = f"{owner}/{name}"
            case _:
                exchange.error(404)
                return
        if repo_id not in self.repos:
            _refuse(exchange, 404, "record not found")
        elif repo_id in self._readers and _tokens(exchange).isdisjoint(self._readers[repo_id]):
            _refuse(exchange, 403, "get model info failed, err: unauthorized permission")
        elif (files := self.repos[repo_id].get(exchange.query.get("Revision", "master"))) is None:
            _refuse(exchange, 404, "no such revision")
        elif rest:
            self._list(exchange, files)
        else:
            self._send(exchange, files)

    def _list(self, exchange: Exchange, files: dict[str, HubFile]) -> None:
        root = exchange.query.get("Root", "").strip("/")
        prefix = f"{root}/" if root else ""
        recursive = exchange.query.get("Recursive", "").lower() == "true"
        entries: dict[str, dict[str, Any]] = {}
        for path, file in files.items():
            if not path.startswith(prefix):
                continue
            inner = path[len(prefix) :].split("/")
            for depth in range(1, len(inner) if recursive else min(2, len(inner))):
                folder = prefix + "/".join(inner[:depth])
                entries.setdefault(folder, _entry(folder, Type="tree", Size=0, Sha256=""))
            if recursive or len(inner) == 1:
                said = {"Type": "blob", "Size": file.size, "Sha256": file.sha256, "IsLFS": is_lfs(path)}
                entries[path] = _entry(path, **said) | self.tweaks.get(path, {})
        listed = list(entries.values())[:MOST]
        said = {"Code": 200, "Data": {"Files": listed}, "Message": "success", "RequestId": "1", "Success": True}
        exchange.document(json.dumps(said).encode())

    def _send(self, exchange: Exchange, files: dict[str, HubFile]) -> None:
        path = exchange.query.get("FilePath", "")
        if (file := files.get(path)) is None:
            _refuse(exchange, 404, "no such file")
        elif self.cdn and is_lfs(path):
            exchange.redirect(self.cdn.link(file))
        else:
            exchange.content(file.content, {"Content-Type": "application/octet-stream"})


def _entry(path: str, **said: Any) -> dict[str, Any]:
    return {"Name": path.rpartition("/")[2], "Path": path, "Revision": "e45fcc15" * 5, "Mode": "33188", **said}


def _refuse(exchange: Exchange, status: int, message: str) -> None:
    said = {"Code": 10010101004, "Message": message, "RequestId": "", "Success": False}
    body = json.dumps(said).encode()
    exchange.head(status, {"Content-Type": "application/json", "Content-Length": str(len(body))})
    exchange.wfile.write(body)


def _tokens(exchange: Exchange) -> set[str]:
    headers = exchange.log.headers
    cookies = headers.get("cookie", "").split("; ")
    return {
        headers.get("authorization", "").removeprefix("Bearer "),
        *(cookie.removeprefix("m_session_id=") for cookie in cookies),
    }
