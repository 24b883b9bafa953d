"""What the hub itself tells somebody, by one HEAD of a file with their own credentials: whether they may read the
repository, and which commit a revision is now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urljoin

from modeldist.errors import OriginProtocolError, OriginUnavailable
from modeldist.origins.http_answers import TryAgain, retry_after
from modeldist.origins.http_dialing import Dialer
from modeldist.origins.http_redirects import MAX_REDIRECTS, REDIRECT_STATUSES, Endpoint
from modeldist.origins.http_session import Answer, HttpSession

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubSays:
    """`commit`: what the revision is (empty when refused). `exists`: whether the file is in it. Of a refusal the
    hub's own status, code and words; `retry_after` in seconds."""

    commit: str = ""
    exists: bool = False
    status: int = 200
    code: str = ""
    message: str = ""
    retry_after: float | None = None


class HubDoor:
    """Asks `endpoint`, once per question and in the calling thread."""

    def __init__(self, dialer: Dialer, endpoint: str) -> None:
        self._dialer = dialer
        self.endpoint = endpoint

    def ask(self, repo: str, revision: str, path: str, authorization: str) -> HubSays:
        """`authorization` is the header of who asks (empty: nobody in particular); it goes to the endpoint alone.

        Raises OriginUnavailable, OriginProtocolError.
        """
        url = f"{self.endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"
        headers = {"Authorization": authorization} if authorization else {}
        session = HttpSession(self._dialer)
        try:
            for _ in range(MAX_REDIRECTS):
                with session.request("HEAD", url, headers, follow=False) as answer:
                    moved = self._renamed(answer, url)
                    if moved is None:
                        return self._read(answer, repo)
                url = moved
        except TryAgain as again:
            raise again.error from again
        finally:
            session.close()
        raise OriginProtocolError(f"{self.endpoint} redirects {repo} in a loop.", remedy="Check HF_ENDPOINT.")

    @staticmethod
    def _renamed(answer: Answer, url: str) -> str | None:
        """Where a repository that has another name now is; None: this is it, wherever its file itself may lie."""
        if answer.status not in REDIRECT_STATUSES or answer.header("X-Repo-Commit"):
            return None
        there = urljoin(url, answer.header("Location"))
        return there if there != url and Endpoint.of(there) == Endpoint.of(url) else None

    def _read(self, answer: Answer, repo: str) -> HubSays:
        commit, code = answer.header("X-Repo-Commit"), answer.header("X-Error-Code")
        known = bool(_COMMIT.fullmatch(commit))
        if known and (answer.status == 200 or answer.status in REDIRECT_STATUSES):
            return HubSays(commit, exists=True)
        if known and code == "EntryNotFound":
            return HubSays(commit)
        if answer.status >= 500:
            raise OriginUnavailable(f"{self.endpoint} answers {answer.status}.", remedy="Try again later.")
        if answer.status >= 400:
            after = retry_after(answer.header("Retry-After"), lambda: datetime.now(UTC))
            message = answer.header("X-Error-Message") or f"The hub answers {answer.status}."
            return HubSays(status=answer.status, code=code, message=message, retry_after=after)
        raise OriginProtocolError(
            f"{self.endpoint} does not answer like a hub: it names no commit of {repo}.", remedy="Check HF_ENDPOINT."
        )
