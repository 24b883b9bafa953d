"""Hugging Face repositories: `hf://org/model@revision`, through huggingface_hub's own metadata calls where a glance at
the hub does not do.

LFS files are sha256 shards, others are known by their git blob's sha1. Bytes are read from `/resolve/<commit>/<path>`
by plain ranged HTTP, never by Xet; the token goes to the configured endpoint alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from modeldist.artifact import Artifact, ArtifactFile, Digest
from modeldist.errors import InvalidReference, NotFound, OriginProtocolError, OriginUnavailable
from modeldist.origins.base import RangeReader
from modeldist.origins.bounded_thread import within
from modeldist.origins.http import HttpReader
from modeldist.origins.http_answers import Source, TryAgain
from modeldist.origins.http_dialing import Dialer
from modeldist.origins.hub_glance import HubGlance, Listed, glances, plain_token
from modeldist.origins.identity import list_digest
from modeldist.origins.patience import KNOCKS, pause_before
from modeldist.origins.ranged_http import RangedHttp
from modeldist.origins.safe_names import check_paths
from modeldist.origins.settings import OriginSettings
from modelpack.filekinds import kind_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LOG_IN = "Set HF_TOKEN, or run `hf auth login`."
PUBLIC_ENDPOINT = "https://huggingface.co"
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REFERENCE = re.compile(rf"hf://(?P<repo>(?:{_PART}/)?{_PART})(?:@(?P<revision>[^\s@?#]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LISTING = 10  # times as long as a small answer: that of 100,000 files has 25 MB
_Answer = TypeVar("_Answer")


def endpoint_of(settings: OriginSettings) -> str:
    """The hub that `hf://` means."""
    return (settings.hf_endpoint or os.environ.get("HF_ENDPOINT") or PUBLIC_ENDPOINT).rstrip("/")


class HuggingFaceOrigin:
    """See `modeldist.origins.base.Origin`."""

    def __init__(self, settings: OriginSettings, dialer: Dialer) -> None:
        self._settings = settings
        self._dialer = dialer
        self.endpoint = endpoint_of(settings)
        self._met = False  # whether the hub has answered

    def matches(self, reference: str) -> bool:
        return reference.startswith("hf://")

    def canonical(self, reference: str) -> str:
        repo, revision = _parse(reference)
        return f"hf://{repo}@{revision}"

    async def resolve(self, reference: str) -> Artifact:
        repo, revision = _parse(reference)
        glance = partial(HubGlance.listing, repo=repo, revision=revision)
        question = partial(_list, repo=repo, revision=revision, timeout=self._timeout)
        commit, listed = await self._ask(reference, repo, glance, question, _LISTING * self._timeout)
        files = tuple(_file(*entry) for entry in sorted(listed))
        check_paths((file.path for file in files), reference)
        if not files:
            raise NotFound(f"{reference}: the repository is empty.", remedy="Check the name and the revision.")
        return Artifact(
            reference=f"hf://{repo}@{commit}",
            name=f"hf://{repo}",
            tag="" if revision == commit else revision,
            digest=list_digest(repo, commit, files),
            revision=commit,
            repo_id=repo,
            origin="huggingface",
            endpoint=self.endpoint,
            repository=repo,
            files=files,
        )

    async def still(self, artifact: Artifact, reference: str) -> bool:
        """One HEAD of the artifact's first file at the revision: its answer names the commit."""
        repo, revision = _parse(reference)
        if _COMMIT.fullmatch(revision):
            return revision == artifact.revision
        path = artifact.files[0].path
        glance = partial(HubGlance.commit, repo=repo, revision=revision, path=path)
        question = partial(_commit_of, repo=repo, revision=revision, path=path)
        return await self._ask(reference, repo, glance, question, self._timeout) == artifact.revision

    def reader(self, artifact: Artifact) -> RangeReader:
        page = f"{artifact.endpoint}/{artifact.repository}"
        headers: dict[str, str] | None = None

        def locate(shard: Digest) -> Source:
            nonlocal headers
            if headers is None:
                headers = self._credentials(artifact.endpoint)
            file = artifact.file_of(shard)
            url = f"{page}/resolve/{artifact.revision}/{quote(file.locator)}"
            label = f"{file.path} of {artifact.reference}"
            return Source(url, label, file.size, headers, remedies=remedies(page))

        return HttpReader(RangedHttp(self._dialer), locate)

    async def close(self) -> None:
        """huggingface_hub keeps one session for the whole process and closes it at exit."""

    @property
    def _timeout(self) -> float:
        return min(self._settings.http.stall_timeout, self._settings.http.answer_timeout)

    def _token(self) -> str | None:
        if self._settings.hf_token is not None:
            return self._settings.hf_token()
        if (plain := plain_token()) is not None:
            return plain[0]
        from huggingface_hub import get_token

        return get_token()

    def _credentials(self, endpoint: str) -> dict[str, str]:
        token = self._token() if endpoint == self.endpoint else None
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def _ask(
        self,
        reference: str,
        repo: str,
        glance: Callable[[HubGlance], _Answer | None],
        question: Callable[[HfApi], _Answer],
        seconds: float,
    ) -> _Answer:
        """Put a question to the hub in a thread, patiently: as a glance first, in full where that says nothing. The
        answer as a whole may take `seconds`."""
        attempt, until = 0, time.monotonic() + self._settings.http.answer_patience
        while True:
            try:
                answer = await self._once(reference, lambda: self._put(reference, repo, glance, question), seconds)
                self._met = True
                return answer
            except TryAgain as again:
                attempt += 1
                pause = pause_before(attempt, again.after, self._settings.http, random.random())
                mistyped = again.stranger and not self._met and attempt >= KNOCKS
                if mistyped or pause is None or (again.after is None and time.monotonic() + pause >= until):
                    raise again.error from again
            await asyncio.sleep(pause)

    async def _once(self, reference: str, put: Callable[[], _Answer], seconds: float) -> _Answer:
        try:
            return await within(seconds, put)
        except TimeoutError:
            from huggingface_hub import close_session

            close_session()  # which ends the thread that waits
            raise TryAgain(
                OriginUnavailable(
                    f"{reference}: {self.endpoint} answers too slowly, nothing whole in {seconds:.0f} s.",
                    remedy="Try again later; if it repeats, check the network, the proxy settings and HF_ENDPOINT.",
                )
            ) from None

    def _put(
        self,
        reference: str,
        repo: str,
        glance: Callable[[HubGlance], _Answer | None],
        question: Callable[[HfApi], _Answer],
    ) -> _Answer:
        page = f"{self.endpoint}/{repo}"
        if glances():
            source = Source(page, reference, 0, self._credentials(self.endpoint), remedies=remedies(page))
            seen = glance(HubGlance(self._dialer, self.endpoint, source))
            if seen is not None:
                return seen
        from huggingface_hub import HfApi

        from modeldist.origins.huggingface_errors import as_ours

        try:
            return question(HfApi(endpoint=self.endpoint, token=self._token() or False))
        except Exception as error:
            raise as_ours(error, reference, page, remedies(page)) from error


def _list(api: HfApi, repo: str, revision: str, timeout: float) -> tuple[str, Listed]:
    """(commit, files), from one request; a second kind of request where a mirror's answer lacks sizes."""
    info = api.model_info(repo, revision=revision, files_metadata=True, timeout=timeout)
    if not info.sha or not _COMMIT.fullmatch(info.sha):
        raise OriginProtocolError(f"hf://{repo}: the hub names no commit.", remedy="Check HF_ENDPOINT.")
    siblings = info.siblings or []
    if siblings and all(s.size is not None and s.blob_id for s in siblings):
        listed = [(s.rfilename, s.size, s.blob_id, s.lfs.sha256 if s.lfs else None) for s in siblings]
    else:
        listed = list(_tree(api, repo, info.sha))
    return info.sha, listed


def _tree(api: HfApi, repo: str, commit: str) -> Iterable[tuple[str, int | None, str | None, str | None]]:
    from huggingface_hub.hf_api import RepoFile

    for entry in api.list_repo_tree(repo, recursive=True, revision=commit):
        if isinstance(entry, RepoFile):
            yield entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None


def _file(path: str, size: int | None, blob_id: str | None, sha256: str | None) -> ArtifactFile:
    digest = f"sha256:{sha256}" if sha256 else f"git-sha1:{blob_id}"
    if size is None or size < 0 or not re.fullmatch(r"sha256:[0-9a-f]{64}|git-sha1:[0-9a-f]{40}", digest):
        raise OriginProtocolError(f"{path}: the hub gives no size or digest.", remedy="Check HF_ENDPOINT.")
    return ArtifactFile(path, Digest(digest), size, kind_of(path.rpartition("/")[2], size), locator=path)


def _commit_of(api: HfApi, repo: str, revision: str, path: str) -> str:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    url = hf_hub_url(repo, path, revision=revision, endpoint=api.endpoint)
    try:
        return get_hf_file_metadata(url, token=api.token, endpoint=api.endpoint).commit_hash or ""
    except RemoteEntryNotFoundError as error:
        return str(error.response.headers.get("X-Repo-Commit", ""))


def remedies(page: str) -> dict[int, str]:
    """By status; `page` is the repository's address for people."""
    return {
        401: LOG_IN,
        403: f"Ask for access at {page}, then use a token of that account.",
        404: f"Check the name and the revision; if {page} is private, log in. {LOG_IN}",
        429: f"Wait, or raise the limit with a token. {LOG_IN}",
    }


def _parse(reference: str) -> tuple[str, str]:
    """(repository, revision). Raises InvalidReference."""
    found = _REFERENCE.fullmatch(reference)
    if found is None or len(found["repo"]) > 96 or "--" in found["repo"] or ".." in found["repo"]:
        raise InvalidReference(
            f"{reference[:200]!r} is no Hugging Face reference.",
            remedy="Write hf://org/model or hf://org/model@revision.",
        )
    return found["repo"], found["revision"] or "main"
