"""What a tag means now, asked of a registry that answers anybody: one HEAD by a process that asks for nothing else.

modelpack's client knows credentials, tokens and retries, and takes longer to start than such a registry to answer.
"""

from __future__ import annotations

import re

from modeldist.errors import OriginError
from modeldist.origins.http_answers import TryAgain
from modeldist.origins.http_dialing import Dialer
from modeldist.origins.http_session import HttpSession
from modelpack.mediatypes import ACCEPT
from modelpack.reference import Reference

_WANTS_TOKENS = frozenset({"docker.io"})
"""Registries that let nobody in without a token, not even to public repositories."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def manifest_digest(dialer: Dialer, endpoint: str, ref: Reference) -> str:
    """The digest of the tag's manifest as the registry tells it to anybody, in one attempt; empty when it does not.
    Blocks."""
    if ref.registry in _WANTS_TOKENS:
        return ""
    session = HttpSession(dialer)
    try:
        url = f"{endpoint}/v2/{ref.repository}/manifests/{ref.tag or 'latest'}"
        with session.request("HEAD", url, {"Accept": ", ".join(ACCEPT)}) as answer:
            digest = answer.header("Docker-Content-Digest")
            return digest if answer.status == 200 and _DIGEST.fullmatch(digest) else ""
    except (TryAgain, OriginError):
        return ""  # whoever asks in earnest meets it again, and says it
    finally:
        session.close()
