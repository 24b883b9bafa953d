"""The session over a WebSocket to a control plane elsewhere."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from socket import IPPROTO_TCP, TCP_USER_TIMEOUT
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.http11 import Response

from modeldist.agent.first_of import first_of
from modeldist.errors import (
    UNDECODABLE,
    ControlPlaneError,
    ControlPlaneRefused,
    ControlPlaneUnreachable,
    ErrorInfo,
    Overloaded,
)
from modeldist.logger import Logger
from modeldist.session.addresses import addresses
from modeldist.session.messages import (
    MAX_MESSAGE,
    OLDEST_PROTOCOL,
    PATH,
    PROTOCOL,
    FromAgent,
    FromControl,
    Hello,
    Refused,
    Welcome,
    decode_from_control,
    encode,
)
from modeldist.session.unreachable import unreachable

log = Logger(__name__)

FAREWELL = 1.0  # seconds for the other end to close, too: nothing is told in them, and an agent that stops waits for it
AFTER = 1.0  # seconds without an answer of one replica before the next is tried beside it
PING = 5.0  # seconds to a sign of life, and to its answer, where another replica may have taken over
PING_ALONE = 20.0


class WebSocketSession:
    """Implements `session.link.Session`. Messages go out in order through one writer task."""

    def __init__(self, socket: ClientConnection, welcome: Welcome, url: str) -> None:
        self._socket = socket
        self._welcome = welcome
        self._url = url

    @property
    def welcome(self) -> Welcome:
        return self._welcome

    async def send(self, message: FromAgent) -> None:
        try:
            await self._socket.send(encode(message))
        except ConnectionClosed as error:
            raise ControlPlaneUnreachable(f"The session with {self._url} ended.") from error

    async def receive(self) -> AsyncIterator[FromControl]:
        try:
            async for frame in self._socket:
                try:
                    yield decode_from_control(frame if isinstance(frame, bytes) else frame.encode())
                except UNDECODABLE as error:
                    log.warning("message not understood", control=self._url, error=str(error))
        except ConnectionClosed as end:
            if end.rcvd and end.rcvd.reason:
                raise ControlPlaneUnreachable(f"{self._url} ended the session: {end.rcvd.reason}.") from end


class WebSocketLink:
    """Opens sessions with the control plane at `urls` (http, https, ws or wss; one text may name several), with
    `token`. Of several replicas the first is taken that lets this agent in; the one that did so last is tried first."""

    def __init__(self, urls: str | Sequence[str], token: str, *, open_timeout: float = 10.0) -> None:
        self._urls = [session_url(url) for url in addresses(urls)]
        self._token = token
        self._open_timeout = open_timeout

    @asynccontextmanager
    async def open(self, hello: Hello) -> AsyncIterator[WebSocketSession]:
        url, socket = await self._connect_to_one()
        try:
            yield await self._greet(url, socket, hello)
        finally:
            await socket.close()

    async def _connect_to_one(self) -> tuple[str, ClientConnection]:
        """The others are tried beside one that does not answer soon: a machine that is gone says nothing at all."""
        if len(self._urls) == 1:
            return self._urls[0], await self._connect(self._urls[0])
        opened = await first_of([partial(self._connect, url) for url in self._urls], AFTER, _too_late)
        if isinstance(opened, tuple):
            index, socket = opened
            url = self._urls.pop(index)
            self._urls.insert(0, url)
            return url, socket
        raise _nobody(opened)

    async def _connect(self, url: str) -> ClientConnection:
        secure = ssl.create_default_context() if url.startswith("wss:") else None
        alone = len(self._urls) == 1
        try:
            socket = await connect(
                url,
                ssl=secure,
                additional_headers={"Authorization": f"Bearer {self._token}"},
                open_timeout=self._open_timeout,
                close_timeout=FAREWELL,
                max_size=MAX_MESSAGE,
                compression=None,
                ping_interval=PING_ALONE if alone else PING,
                ping_timeout=PING_ALONE if alone else PING,
            )
        except InvalidStatus as error:
            if (full := _without_room(error.response)) is not None:
                raise full from error
            status = error.response.status_code
            if status in (401, 403, 429):  # the last for who is refused again and again
                raise ControlPlaneRefused(
                    f"The control plane at {url} does not accept this agent's token.",
                    remedy="Give it the contents of agent.token, which `modeldist server` wrote: --token-file or "
                    "MODELDIST_AGENT_TOKEN.",
                ) from error
            said = _detail(bytes(error.response.body or b""))
            raise ControlPlaneUnreachable(f"The control plane at {url} answered {status}{said}.") from error
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
            raise unreachable(url, error) from error
        if not alone and (raw := socket.transport.get_extra_info("socket")) is not None:
            raw.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, int(PING * 1000))
        return socket

    async def _greet(self, url: str, socket: ClientConnection, hello: Hello) -> WebSocketSession:
        try:
            await socket.send(encode(hello))
            frame = await asyncio.wait_for(socket.recv(decode=False), self._open_timeout)
            answer = decode_from_control(frame)
        except (ConnectionClosed, TimeoutError, *UNDECODABLE) as error:
            raise ControlPlaneUnreachable(f"{url} does not answer like a control plane ({error}).") from error
        if isinstance(answer, Refused):
            raise answer.error.as_error()
        if not isinstance(answer, Welcome) or not OLDEST_PROTOCOL <= answer.protocol <= PROTOCOL:
            raise ControlPlaneRefused(
                f"The control plane at {url} speaks another protocol version.",
                remedy="Run versions of modeldist on the control plane and the agents that are next to each other.",
            )
        return WebSocketSession(socket, answer, url)


async def _too_late(socket: ClientConnection) -> None:
    """Another replica let this agent in as well, and sooner."""
    await socket.close()


def _nobody(errors: Sequence[ControlPlaneError]) -> ControlPlaneError:
    """No replica lets this agent in. What one says of the token is true of all, and only who leads has no room."""
    answers = [error for error in errors if isinstance(error, ControlPlaneRefused | Overloaded)]
    if answers:
        return answers[0]
    said = " ".join(error.message for error in errors)
    return ControlPlaneUnreachable(f"No replica of the control plane lets this agent in. {said}")


def _detail(body: bytes) -> str:
    """What a problem says, as the rest of a sentence."""
    try:
        return ": " + str(msgspec.json.decode(body)["detail"]).rstrip(".")
    except (*UNDECODABLE, KeyError, TypeError):
        return ""


class _Problem(msgspec.Struct):
    """Of the control plane's, what an agent needs."""

    code: str
    detail: str
    remedy: str = ""
    retry_after: float | None = None


def _without_room(response: Response) -> Overloaded | None:
    """What a control plane that takes no more agents now says; None where it says something else."""
    try:
        said = msgspec.json.decode(response.body or b"", type=_Problem)
    except UNDECODABLE:
        return None
    error = ErrorInfo(said.code, said.detail, said.remedy, said.retry_after).as_error()
    return error if isinstance(error, Overloaded) else None


def session_url(url: str) -> str:
    """`https://host:7420` -> `wss://host:7420/session`."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + PATH, "", ""))
