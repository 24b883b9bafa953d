"""A Hugging Face shaped server on loopback, for tests of everything that speaks to a hub.

    with Hub() as hub:
        commit = hub.commit("org/model", {"config.json": b"{}", "model.safetensors": Path("big")})
        HF_ENDPOINT = hub.url

It answers model info, revisions, trees (paged) and `/resolve/`, with the headers huggingface_hub relies on. With
`cdn=True` LFS files are redirected to links on another port that expire on demand. Faults and the request log are
those of `LoopbackServer`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from tests.servers.loopback_http import Content, Exchange, LoopbackServer

LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".onnx", ".pt", ".pth", ".h5", ".msgpack", ".model")


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class HubFile:
    """One file of a commit. `oid` is the git blob's sha1 (of the LFS pointer for LFS files)."""

    content: Content
    size: int
    oid: str
    sha256: str | None  # of LFS files
    pointer: int = 0  # bytes of an LFS file's pointer

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid

    @classmethod
    def of(cls, content: Content, *, lfs: bool) -> HubFile:
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        if not lfs:
            return cls(content, size, _git_sha1(content if isinstance(content, bytes) else content.read_bytes()), None)
        if isinstance(content, Path):
            with content.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            sha256 = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return cls(content, size, _git_sha1(pointer.encode()), sha256, len(pointer))


@dataclass
class Repo:
    commits: dict[str, dict[str, HubFile]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    readers: frozenset[str] | None = None  # tokens; None: public
    gated: bool = False


class Hub(LoopbackServer):
    """`page` is the number of tree entries an answer holds."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, cdn: bool = False, page: int = 1000) -> None:
        self.repos: dict[str, Repo] = {}
        self.page = page
        self.cdn = Cdn(host) if cdn else None
        super().__init__(host, port)

    # --- what it serves --------------------------------------------------------------------------------------------

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, Content] | Path,
        *,
        ref: str = "main",
        lfs: Callable[[str], bool] = is_lfs,
    ) -> str:
        """Make a commit of these files (a directory: all files in it) and move `ref` to it. Returns its sha."""
        if isinstance(files, Path):
            files = {str(p.relative_to(files)): p for p in sorted(files.rglob("*")) if p.is_file()}
        made = {path: HubFile.of(content, lfs=lfs(path)) for path, content in sorted(files.items())}
        text = repo_id + "".join(f"{path}\0{file.etag}\0" for path, file in made.items())
        sha = hashlib.sha1(text.encode()).hexdigest()
        repo = self.repos.setdefault(repo_id, Repo())
        repo.commits[sha] = made
        repo.refs[ref] = sha
        return sha

    def move(self, repo_id: str, ref: str, sha: str) -> None:
        self.repos[repo_id].refs[ref] = sha

    def restrict(self, repo_id: str, tokens: Iterable[str], *, gated: bool = True) -> None:
        """Only these tokens read it. A gated repository says so; a private one looks missing to others."""
        self.repos[repo_id].readers, self.repos[repo_id].gated = frozenset(tokens), gated

    def close(self) -> None:
        super().close()
        if self.cdn:
            self.cdn.close()

    # --- answers ---------------------------------------------------------------------------------------------------

    def answer(self, exchange: Exchange) -> None:
        parts = [unquote(part) for part in exchange.url_path.strip("/").split("/")]
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            repo_id, rest = "/".join(parts[2:4]), parts[4:]
        elif len(parts) >= 5 and parts[2] == "resolve":
            repo_id, rest = "/".join(parts[:2]), parts[2:]
        else:
            exchange.error(404)
            return
        repo = self._readable(exchange, repo_id)
        if repo is None:
            return
        kind, revision = [*rest, "", ""][:2]
        sha = self._sha(exchange, repo, revision or "main")
        if sha is None:
            return
        if kind in ("", "revision"):
            self._info(exchange, repo_id, sha)
        elif kind == "tree":
            self._tree(exchange, repo.commits[sha], "/".join(rest[2:]), sha)
        elif kind == "resolve":
            self._file(exchange, repo.commits[sha], "/".join(rest[2:]), sha)
        else:
            exchange.error(404)

    def _readable(self, exchange: Exchange, repo_id: str) -> Repo | None:
        repo = self.repos.get(repo_id)
        if repo is None:
            exchange.error(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            return None
        token = exchange.log.headers.get("authorization", "").removeprefix("Bearer ")
        if repo.readers is None or token in repo.readers:
            return repo
        if repo.gated:
            exchange.error(403 if token else 401, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
        else:
            exchange.error(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        return None

    def _sha(self, exchange: Exchange, repo: Repo, revision: str) -> str | None:
        sha = repo.refs.get(revision, revision)
        if sha in repo.commits:
            return sha
        exchange.error(404, X_Error_Code="RevisionNotFound", X_Error_Message=f"Invalid rev id: {revision}")
        return None

    def _info(self, exchange: Exchange, repo_id: str, sha: str) -> None:
        blobs = exchange.query.get("blobs", "").lower() == "true"
        expand = "expand" in exchange.query
        siblings = []
        for path, file in self.repos[repo_id].commits[sha].items():
            entry: dict[str, object] = {"rfilename": path}
            if blobs:
                entry |= {"size": file.size, "blobId": file.oid}
                if file.sha256:
                    entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer}
            siblings.append(entry)
        said: dict[str, object] = {"_id": sha[:24], "id": repo_id, "sha": sha}
        if not expand:
            said |= {"modelId": repo_id, "private": False, "gated": False, "tags": [], "siblings": siblings}
        exchange.document(json.dumps(said).encode())

    def _tree(self, exchange: Exchange, files: dict[str, HubFile], under: str, sha: str) -> None:
        recursive = exchange.query.get("recursive", "").lower() == "true"
        prefix = f"{under}/" if under else ""
        entries: list[dict[str, object]] = []
        folders: set[str] = set()
        for path, file in files.items():
            if not path.startswith(prefix):
                continue
            inner = path[len(prefix) :].split("/")
            deep = range(1, len(inner)) if recursive else range(1, min(2, len(inner)))
            for folder in (prefix + "/".join(inner[:depth]) for depth in deep):
                if folder not in folders:
                    folders.add(folder)
                    oid = hashlib.sha1(f"{sha}{folder}".encode()).hexdigest()
                    entries.append({"type": "directory", "path": folder, "oid": oid, "size": 0})
            if recursive or len(inner) == 1:
                entry: dict[str, object] = {"type": "file", "path": path, "size": file.size, "oid": file.oid}
                if file.sha256:
                    entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer}
                entries.append(entry)
        if under and not entries:
            exchange.error(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
            return
        start = int(exchange.query.get("cursor", "0"))
        page = entries[start : start + self.page]
        more = {}
        if start + self.page < len(entries):
            query = f"recursive={recursive}&expand={exchange.query.get('expand', 'False')}&cursor={start + self.page}"
            more["Link"] = f'<{self.url}{quote(exchange.url_path)}?{query}>; rel="next"'
        exchange.document(json.dumps(page).encode(), **more)

    def _file(self, exchange: Exchange, files: dict[str, HubFile], path: str, sha: str) -> None:
        file = files.get(path)
        if file is None:
            exchange.error(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
            return
        headers = {"X-Repo-Commit": sha, "ETag": f'"{file.etag}"', "Content-Type": "application/octet-stream"}
        if file.sha256 and self.cdn:
            linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.sha256}"'}
            exchange.redirect(self.cdn.link(file), headers | linked)
            return
        exchange.content(file.content, headers)


class Cdn(LoopbackServer):
    """Where a hub with `cdn=True` keeps LFS files: links carry a signature and no token."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._files: dict[str, HubFile] = {}
        self._signatures: set[str] = set()
        self._numbers = itertools.count(1)
        super().__init__(host)

    def link(self, file: HubFile) -> str:
        signature = f"{next(self._numbers):08x}"
        self._files[f"/{file.etag}"] = file
        self._signatures.add(signature)
        return f"{self.url}/{file.etag}?signature={signature}"

    def expire_links(self) -> None:
        """Every link handed out so far answers 403 from now on."""
        self._signatures.clear()

    def answer(self, exchange: Exchange) -> None:
        file = self._files.get(exchange.url_path)
        if exchange.query.get("signature") not in self._signatures:
            exchange.error(403)
        elif file is None:
            exchange.error(404)
        else:
            exchange.content(file.content, {"ETag": f'"{file.etag}"', "Content-Type": "application/octet-stream"})
