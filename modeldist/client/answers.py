"""What the control plane answered: a view, or the error that its problem stands for."""

from __future__ import annotations

import ssl
from typing import TypeVar

import httpx2
import msgspec

from modeldist.client.calls import Call
from modeldist.control.views import Problem
from modeldist.errors import UNDECODABLE, ControlPlaneUnreachable, ErrorInfo, ModeldistError, Overloaded
from modeldist.session.unreachable import unreachable
from modeldist.units import duration
from modelpack.oci.retry import retry_after_seconds

T = TypeVar("T")

CONNECT = 10.0  # seconds for a connection
CONNECT_ONE_OF = 3.0  # the same, where another replica can be asked


def decoded(call: Call[T], response: httpx2.Response, url: str) -> T:
    """The answer. Raises what a problem stands for; ControlPlaneUnreachable for what is no control plane's answer."""
    if response.is_error:
        raise error_of(response, url)
    try:
        return msgspec.json.decode(response.content, type=call.answer)
    except UNDECODABLE as error:
        raise _stranger(response, url) from error


def error_of(response: httpx2.Response, url: str) -> ModeldistError:
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except UNDECODABLE:
        return _without_room(response, url) or _stranger(response, url)
    return ErrorInfo(problem.code, problem.detail, problem.remedy, problem.retry_after).as_error()


def no_answer(url: str, error: httpx2.HTTPError, waited: float) -> ControlPlaneUnreachable:
    """What became of a request. `waited`: seconds that it may say nothing. A process that is stopped still has its
    connections taken, by the kernel."""
    if not isinstance(error, httpx2.TimeoutException):
        return unreachable(url, error)
    return ControlPlaneUnreachable(
        f"The control plane at {url} does not answer: it said nothing for {duration(waited)}.",
        remedy="See on its machine whether `modeldist server` is stopped or has too much to do, as its log says, "
        "and whether this machine may connect to it.",
    )


def trust(url: str, given: ssl.SSLContext | None) -> ssl.SSLContext | bool:
    """Whose certificates count: without `given` the system's trust store; SSL_CERT_FILE is honoured."""
    if given is None and url.startswith("https:"):
        return ssl.create_default_context()
    return given or True


def _without_room(response: httpx2.Response, url: str) -> Overloaded | None:
    """What stands before a control plane says so without a problem."""
    wait = retry_after_seconds(response.headers.get("Retry-After"))
    if wait is None or response.status_code not in (429, 503):
        return None
    return Overloaded(f"{url} has no room now ({response.status_code}).", remedy="Ask again later.", retry_after=wait)


def _stranger(response: httpx2.Response, url: str) -> ControlPlaneUnreachable:
    return ControlPlaneUnreachable(
        f"{url} answered {response.status_code} with something that is no control plane's answer.",
        remedy="Check the address; a proxy may stand in between.",
    )
