"""The hub asked without huggingface_hub, which takes longer to import than a hub to answer.

What a hub answers plainly counts. Everything else (a refusal, a renamed repository, a mirror that says less, a token
that must be renewed first) is None here: then huggingface_hub is asked, which knows what it means. But a hub that
asks for fewer requests is not asked a second time at once.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

import msgspec

from modeldist.errors import UNDECODABLE, OriginError
from modeldist.origins.http_answers import Source, TryAgain, refusal
from modeldist.origins.http_dialing import Dialer
from modeldist.origins.http_session import Answer, HttpSession

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LINKS = frozenset({200, 301, 302, 303, 307, 308})
_MAX_LISTING = 256 << 20  # bytes

Listed = list[tuple[str, int | None, str | None, str | None]]
"""Path, bytes, git blob's sha1, sha256 of an LFS file."""


class _Lfs(msgspec.Struct):
    sha256: str


class _Sibling(msgspec.Struct):
    rfilename: str
    size: int
    blob_id: str = msgspec.field(name="blobId")
    lfs: _Lfs | None = None


class _Info(msgspec.Struct):
    sha: str
    siblings: list[_Sibling]


class _Unanswered(Exception):
    """No answer at all, or one that is no hub's."""


class HubGlance:
    """One attempt per question, in the calling thread. Of `source` the headers carry the credentials, which go to
    `endpoint` alone; label and remedies are for the error when the hub asks for fewer requests (TryAgain)."""

    def __init__(self, dialer: Dialer, endpoint: str, source: Source) -> None:
        self._dialer = dialer
        self._endpoint = endpoint
        self._source = source

    def listing(self, repo: str, revision: str) -> tuple[str, Listed] | None:
        """Commit and files of a revision, by one GET."""
        url = f"{self._endpoint}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
        session = HttpSession(self._dialer)
        try:
            with self._asked(session, "GET", url) as answer:
                if answer.status != 200 or answer.url != url:
                    return None
                info = msgspec.json.decode(answer.text(_MAX_LISTING), type=_Info)
        except (_Unanswered, OSError, *UNDECODABLE):
            return None
        finally:
            session.close()
        if not _COMMIT.fullmatch(info.sha) or not info.siblings:
            return None
        return info.sha, [
            (file.rfilename, file.size, file.blob_id, file.lfs.sha256 if file.lfs else None) for file in info.siblings
        ]

    def commit(self, repo: str, revision: str, path: str) -> str | None:
        """The commit that a revision means now, by one HEAD of one of its files, wherever that itself lies."""
        url = f"{self._endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"
        session = HttpSession(self._dialer)
        try:
            with self._asked(session, "HEAD", url, follow=False) as answer:
                commit = answer.header("X-Repo-Commit")
                there = answer.status in _LINKS or answer.header("X-Error-Code") == "EntryNotFound"
                return commit if there and _COMMIT.fullmatch(commit) else None
        except _Unanswered:
            return None
        finally:
            session.close()

    def _asked(self, session: HttpSession, method: str, url: str, *, follow: bool = True) -> Answer:
        try:
            answer = session.request(method, url, self._source.headers, follow=follow)
        except (TryAgain, OriginError) as error:
            raise _Unanswered from error
        if answer.status == 429:
            answer.close()
            raise refusal(answer.status, answer.header, self._source, partial(datetime.now, UTC))
        return answer


def glances() -> bool:
    """Whether the hub may be asked without huggingface_hub: not when that is told to be offline."""
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        return not constants.HF_HUB_OFFLINE
    offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return offline.upper() not in ("1", "ON", "YES", "TRUE")


def plain_token() -> tuple[str | None] | None:
    """The token of the environment, or that there is none; None where only huggingface_hub can tell."""
    if os.environ.get("HF_OIDC_RESOURCE") or "google.colab" in sys.modules:
        return None
    if token := (os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or "").strip():
        return (token,)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    file = Path(os.path.expandvars(os.environ.get("HF_TOKEN_PATH") or f"{home}/token")).expanduser()
    return None if file.exists() else (None,)
