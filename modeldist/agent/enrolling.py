"""Asking the control plane to enrol this node, and for its next certificates. The key is made here and stays here."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec

from modeldist.agent.identity import NodeIdentity
from modeldist.errors import UNDECODABLE, ControlPlaneUnreachable, ErrorInfo, NotLeading, UsageError
from modeldist.session.addresses import addresses
from modeldist.session.unreachable import unreachable
from modeldist.transfer.tls.requests import new_request
from modelpack.oci.addresses import is_loopback

T = TypeVar("T")

_TIMEOUT = 20.0  # seconds
_UNHEARD = (httpx2.ConnectError, httpx2.ConnectTimeout)


class _Certificate(msgspec.Struct):
    certificate: str
    authority: str


class _Enrolment(_Certificate):
    node: str
    token: str


class _Problem(msgspec.Struct):
    code: str
    detail: str
    remedy: str = ""
    retry_after: float | None = None


async def enrol(control: str, join_token: str, node: str, identity: NodeIdentity) -> None:
    """Make this machine `node` of the cluster, once. Raises UsageError for a control plane that would be told, and
    tell, secrets in the clear; ControlPlaneError, StorageError."""
    for url in map(api_url, addresses(control)):
        if url.startswith("http:") and not is_loopback(urlsplit(url).hostname or ""):
            raise UsageError(
                f"Enrolling at {url} would send secrets over the network in the clear.",
                remedy="Give the control plane a certificate (--tls-cert, --tls-key), and name it as https://… here.",
            )
    key, request = new_request()
    given = await _ask_one(control, "enrol", join_token, {"node": node, "csr": request.decode()}, _Enrolment)
    identity.keep(key, given.certificate.encode(), given.authority.encode(), given.token)


async def renew(control: str, identity: NodeIdentity) -> None:
    """A new key and a new certificate, in the place of those there are. Raises ControlPlaneError, StorageError."""
    key, request = new_request()
    given = await _ask_one(control, "certificate", identity.token, {"csr": request.decode()}, _Certificate)
    identity.keep(key, given.certificate.encode(), given.authority.encode())


def api_url(control: str) -> str:
    """`control:7420`, or the address of sessions there -> the API's."""
    parts = urlsplit(control if "//" in control else f"http://{control}")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/api/v1/"


async def _ask_one(control: str, what: str, token: str, body: Mapping[str, str], answer: type[T]) -> T:
    """Of several replicas the one that leads: another is asked where the question was not heard, or not answered."""
    *others, last = addresses(control)
    for url in others:
        try:
            return await _ask(api_url(url), what, token, body, answer)
        except ControlPlaneUnreachable as error:
            if not isinstance(error, NotLeading) and not isinstance(error.__cause__, _UNHEARD):
                raise
    return await _ask(api_url(last), what, token, body, answer)


async def _ask(url: str, what: str, token: str, body: Mapping[str, str], answer: type[T]) -> T:
    verify = ssl.create_default_context() if url.startswith("https:") else True
    headers = {"Authorization": f"Bearer {token}"}
    try:
        # Not by a proxy of the environment, which would see the token.
        async with httpx2.AsyncClient(verify=verify, timeout=_TIMEOUT, trust_env=False) as http:
            said = await http.post(url + what, json=dict(body), headers=headers)
    except httpx2.HTTPError as error:
        raise unreachable(url, error) from error
    try:
        if said.is_error:
            problem = msgspec.json.decode(said.content, type=_Problem)
            raise ErrorInfo(problem.code, problem.detail, problem.remedy, problem.retry_after).as_error()
        return msgspec.json.decode(said.content, type=answer)
    except UNDECODABLE as error:
        raise ControlPlaneUnreachable(
            f"{url} answered {said.status_code} with something that is no control plane's answer.",
            remedy="Check the address; a proxy may stand in between, or the control plane is of an older release.",
        ) from error
