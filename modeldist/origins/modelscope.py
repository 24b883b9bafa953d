"""ModelScope repositories: `modelscope://org/model@revision`, by the requests that its own client makes.

The listing has the sha256 of every file, which is what its bytes are proved by. Nothing that its client relies on says
which commit a revision means, so a model is known by the digest of its list of files. Bytes are read from `/repo` in
ranges, by links that it redirects to where there are such; the token goes to the configured endpoint alone.
"""

from __future__ import annotations

import hashlib
import os
import re
from urllib.parse import quote

from modeldist.artifact import Artifact, ArtifactFile, Digest
from modeldist.errors import InvalidReference, NotFound, OriginProtocolError, OriginUnavailable, Unsupported
from modeldist.origins import repo_ids
from modeldist.origins.base import RangeReader
from modeldist.origins.bounded_thread import within
from modeldist.origins.http import HttpReader
from modeldist.origins.http_answers import Source
from modeldist.origins.http_dialing import Dialer
from modeldist.origins.http_redirects import Endpoint
from modeldist.origins.identity import list_digest, revision_of
from modeldist.origins.modelscope_listing import MOST_ENTRIES, Entry, entries_of
from modeldist.origins.ranged_http import RangedHttp
from modeldist.origins.safe_names import check_paths
from modeldist.origins.settings import OriginSettings
from modelpack.filekinds import kind_of

PUBLIC_ENDPOINT = "https://modelscope.cn"
USUAL_REVISION = "master"
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_REFERENCE = re.compile(rf"modelscope://(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[^\s@?#]+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EMPTY = hashlib.sha256().hexdigest()
_LISTING = 10  # times as long as a small answer
_MAX_LISTING = 64 << 20  # bytes; an entry has some 400
_MAX_LISTINGS = 1000  # of one repository; one for every 3,000 files, as a rule


class ModelScopeOrigin:
    """See `modeldist.origins.base.Origin`."""

    def __init__(self, settings: OriginSettings, dialer: Dialer) -> None:
        self._settings = settings
        self._dialer = dialer
        self.endpoint = settings.modelscope_endpoint or _endpoint_of_environment()

    def matches(self, reference: str) -> bool:
        return reference.startswith("modelscope://")

    def canonical(self, reference: str) -> str:
        repo, revision = _parse(reference)
        return f"modelscope://{repo}@{revision}"

    async def resolve(self, reference: str) -> Artifact:
        repo, revision = _parse(reference)
        http = self._settings.http
        seconds = http.answer_patience + _LISTING * min(http.stall_timeout, http.answer_timeout)
        try:
            listed = await within(seconds, lambda: self._listed(reference, repo, revision))
        except TimeoutError:
            raise OriginUnavailable(
                f"{reference}: {self.endpoint} answers too slowly, nothing whole in {seconds:.0f} s.",
                remedy="Try again later; if it repeats, check the network, the proxy settings and MODELSCOPE_ENDPOINT.",
            ) from None
        files = tuple(_file(listed[path], reference) for path in sorted(listed))
        check_paths((file.path for file in files), reference)
        if not files:
            raise NotFound(f"{reference}: nothing is there.", remedy="Check the name and the revision.")
        digest = list_digest(f"modelscope://{repo}", revision, files)
        return Artifact(
            reference=f"modelscope://{repo}@{revision}",
            name=f"modelscope://{repo}",
            tag=revision,
            digest=digest,
            revision=revision_of(digest),
            repo_id=repo_ids.of_repository(Endpoint.of(self.endpoint).authority, repo),
            origin="modelscope",
            endpoint=self.endpoint,
            repository=repo,
            files=files,
        )

    async def still(self, artifact: Artifact, reference: str) -> bool:
        """By the listing: nothing smaller tells of every file."""
        return (await self.resolve(reference)).digest == artifact.digest

    def reader(self, artifact: Artifact) -> RangeReader:
        headers = self._credentials(artifact.endpoint)
        told = _remedies(artifact.endpoint, artifact.repository)

        def locate(shard: Digest) -> Source:
            file = artifact.file_of(shard)
            label = f"{file.path} of {artifact.reference}"
            return Source(address(artifact, file), label, file.size, headers, remedies=told)

        return HttpReader(RangedHttp(self._dialer), locate)

    async def close(self) -> None:
        """Nothing is kept between calls."""

    def _listed(self, reference: str, repo: str, revision: str) -> dict[str, Entry]:
        """All files by path: in one answer, or folder by folder where that would be longer than answers are."""
        http = RangedHttp(self._dialer)
        found: dict[str, Entry] = {}
        folders, answers = [""], 0
        try:
            while folders:
                folder = folders.pop()
                entries = self._answer(http, reference, repo, revision, folder, deep=True)
                answers += 1
                if len(entries) >= MOST_ENTRIES:
                    entries = self._answer(http, reference, repo, revision, folder, deep=False)
                    folders += [entry.path for entry in entries if entry.type == "tree"]
                    answers += 1
                if len(entries) >= MOST_ENTRIES or (folders and answers >= _MAX_LISTINGS):
                    raise Unsupported(
                        f"{reference}: {self.endpoint} does not list all of its files"
                        f" ({folder or 'its root'} holds {len(entries)} or more).",
                        remedy="Download it with ModelScope's own git and name the directory.",
                    )
                found.update((entry.path, entry) for entry in entries if entry.type != "tree")
        finally:
            http.close()
        return found

    def _answer(
        self, http: RangedHttp, reference: str, repo: str, revision: str, folder: str, *, deep: bool
    ) -> list[Entry]:
        url = f"{self.endpoint}/api/v1/models/{repo}/repo/files?Revision={quote(revision, safe='')}&Recursive={deep}"
        if folder:
            url += f"&Root={quote(folder, safe='')}"
        told = _remedies(self.endpoint, repo)
        source = Source(url, reference, 0, self._credentials(self.endpoint), remedies=told)
        return http.document(source, _MAX_LISTING, lambda body: entries_of(body, source))

    def _credentials(self, endpoint: str) -> dict[str, str]:
        """As a bearer and, for what asks for a session, as a cookie: ModelScope's client sends both."""
        asked = self._settings.modelscope_token
        token = asked() if asked is not None else os.environ.get("MODELSCOPE_API_TOKEN", "").strip()
        if not token or endpoint != self.endpoint:
            return {}
        return {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"}


def address(artifact: Artifact, file: ArtifactFile) -> str:
    """Where the bytes of a file are read. The reference says which revision."""
    revision = quote(_parse(artifact.reference)[1], safe="")
    path = quote(file.locator, safe="")
    return f"{artifact.endpoint}/api/v1/models/{artifact.repository}/repo?Revision={revision}&FilePath={path}"


def _endpoint_of_environment() -> str:
    named = (os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or "").strip()
    if not named:
        return PUBLIC_ENDPOINT
    return (named if named.lower().startswith(("https://", "http://")) else f"https://{named}").rstrip("/")


def _file(entry: Entry, reference: str) -> ArtifactFile:
    """A size of 0 also stands for one that is not known."""
    sha256, size, path = (entry.sha256 or "").lower(), entry.size, entry.path
    if entry.type != "blob" or not _SHA256.fullmatch(sha256) or size < 0 or (size == 0 and sha256 != _EMPTY):
        raise OriginProtocolError(
            f"{reference}: {path[:200]!r} is listed without a size or digest that it could be checked by.",
            remedy="Download it with ModelScope's own client and name the directory.",
        )
    return ArtifactFile(path, Digest(f"sha256:{sha256}"), size, kind_of(path.rpartition("/")[2], size), locator=path)


def _remedies(endpoint: str, repo: str) -> dict[int, str]:
    """By status."""
    page = f"{endpoint}/models/{repo}"
    return {
        401: "Set MODELSCOPE_API_TOKEN.",
        403: f"Ask for access at {page}, then set MODELSCOPE_API_TOKEN to a token of that account.",
        404: f"Check the name and the revision; if {page} is private, set MODELSCOPE_API_TOKEN.",
        429: "Wait, or raise the limit with a token: set MODELSCOPE_API_TOKEN.",
    }


def _parse(reference: str) -> tuple[str, str]:
    """(repository, revision). Raises InvalidReference."""
    found = _REFERENCE.fullmatch(reference)
    if found is None or len(found["repo"]) > 200 or ".." in found["repo"]:
        raise InvalidReference(
            f"{reference[:200]!r} is no ModelScope reference.",
            remedy="Write modelscope://org/model or modelscope://org/model@revision.",
        )
    return found["repo"], found["revision"] or USUAL_REVISION
