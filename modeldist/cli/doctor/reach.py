"""Who has to be reached: registries and hubs, the control plane (its token, version and clock), the agent."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from modeldist import __version__
from modeldist.cli.doctor.finding import Finding, fail, ok, warn
from modeldist.errors import AgentError, ModeldistError
from modeldist.units import duration
from modeldist.upgrade.newer import newer

if TYPE_CHECKING:
    from modeldist.agent.this_node import Node

_TIMEOUT = 5.0  # seconds for one answer
_CLOCK = 5.0  # seconds apart that do no harm; the header has whole ones
_DOCKER = "registry-1.docker.io"


@dataclass(frozen=True)
class _Answer:
    status: int
    seconds: float
    apart: float | None  # this clock ahead of the other, in seconds


def _ask(url: str, token: str = "") -> _Answer:
    """Raises OSError, httpx2.HTTPError."""
    import httpx2

    from modeldist.client.answers import trust

    began = time.time()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    verify: ssl.SSLContext | bool = trust(url, None)
    # The head of an answer is enough: a body may have no end.
    with httpx2.stream("GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=True, verify=verify) as answer:
        took = time.time() - began
    try:
        date = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        apart = None
    else:
        apart = began + took / 2 - date - 0.5  # the header is cut to whole seconds
    return _Answer(answer.status_code, took, apart)


def origin(name: str, url: str, *, wants: str) -> Iterator[Finding]:
    """An origin that answers anything below 500 is there. It is no failure that one is not: a node may need another."""
    try:
        answer = _ask(url)
    except Exception as error:  # a resolver, TLS, a proxy: whatever a library raises, it is not reached
        yield warn(
            name, f"{url} does not answer: {_short(error)}.", f"If this node needs it: look at DNS, proxy and {wants}."
        )
        return
    if answer.status >= 500:
        yield warn(name, f"{url} answers {answer.status}.", "Try again later.", answer.seconds)
        return
    yield ok(name, f"{url} answers in {duration(answer.seconds)}.", round(answer.seconds, 3))


def registry_url(here: Node) -> str:
    host = _DOCKER if here.registry in ("docker.io", "index.docker.io") else here.registry
    plain = here.registry in here.plain_http or host.partition(":")[0] in ("localhost", "127.0.0.1")
    return f"{'http' if plain else 'https'}://{host}/v2/"


def hub_url(here: Node) -> str:
    from modeldist.origins.huggingface import endpoint_of

    return endpoint_of(here.origin_settings())


def control_plane(url: str, token: str) -> Iterator[Finding]:
    """It, the token for it, and how far its clock is from this one."""
    base = url.replace("ws", "http", 1) if url.startswith("ws") else url
    try:
        ready = _ask(f"{base.rstrip('/')}/readyz")
    except Exception as error:
        yield fail(
            "control plane",
            f"{url} does not answer: {_short(error)}.",
            "Start `modeldist server`, or correct --server (MODELDIST_SERVER).",
        )
        return
    if ready.status != 200:
        yield warn("control plane", f"{url} answers, and is not ready ({ready.status}).", "Look into its log.")
    else:
        yield ok("control plane", f"{url} answers in {duration(ready.seconds)}.", round(ready.seconds, 3))
    if ready.apart is not None:
        yield _clock(ready.apart)
    yield from _token(url, token)


def _clock(apart: float) -> Finding:
    which = "ahead of" if apart > 0 else "behind"
    if abs(apart) <= _CLOCK:
        return ok("clock", "This clock and the control plane's agree.", round(apart, 1))
    said = f"This clock is {duration(abs(apart))} {which} the control plane's."
    remedy = "Have both follow a time server: `timedatectl set-ntp true`."
    return warn("clock", said, remedy, round(apart, 1))


def _token(url: str, token: str) -> Iterator[Finding]:
    from modeldist.client import Client

    if not token:
        yield warn("token", "There is no token to show to the control plane.", "Give --token-file or MODELDIST_TOKEN.")
        return
    try:
        with Client(url, token, timeout=_TIMEOUT, patience=0.0) as client:
            about = client.status()
    except ModeldistError as error:
        yield fail("token", f"The control plane does not take the token: {error.message}", error.remedy)
        return
    yield ok("token", f"The control plane takes the token; {about.agents} agents are connected.")
    if about.version == __version__:
        yield ok("versions", f"The control plane is of version {about.version}, as this program.")
    else:
        said = f"The control plane is of version {about.version}, this program of {__version__}."
        yield warn("versions", said, "One version apart works; upgrade the older one.")


def agent(here: Node) -> Iterator[Finding]:
    from modeldist.agent.local_client import LocalAgent

    running = LocalAgent(here.socket)
    if not running.running():
        yield ok("agent", f"No agent listens on {here.socket}: pulls here work by themselves.")
        return
    try:
        about = running.status()
    except AgentError as error:
        yield fail("agent", error.message, error.remedy)
        return
    if not about["connected"]:
        why = about["control_error"] or "it has not said why"
        yield fail("agent", f"The agent has no session with the control plane: {why}", "See the checks of that.")
    elif about["version"] != __version__:
        yield _other_version(about["version"], launched=about.get("launched", False))
    else:
        yield ok("agent", "The agent runs, and has a session with the control plane.")


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def _other_version(runs: str, *, launched: bool) -> Finding:
    """Than this program. Where it is newer, a rollout brought it."""
    again = "Start it again, to have it run what is installed."
    if not launched:
        return warn("agent", f"The agent runs, of version {runs}; this program is of {__version__}.", again)
    if newer(runs, __version__):
        return ok("agent", f"The agent runs {runs}, which a rollout brought; installed is {__version__}.")
    return warn("agent", f"The agent runs {runs}; installed is {__version__}, which is newer.", again)
