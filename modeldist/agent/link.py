"""The session over a WebSocket to a control plane elsewhere."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.http11 import Response

from modeldist.errors import ControlPlaneRefused, ControlPlaneUnreachable, ErrorInfo, Overloaded
from modeldist.logger import Logger
from modeldist.session.messages import (
    MAX_MESSAGE,
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
                except msgspec.MsgspecError as error:
                    log.warning("message not understood", control=self._url, error=str(error))
        except ConnectionClosed as end:
            if end.rcvd and end.rcvd.reason:
                raise ControlPlaneUnreachable(f"{self._url} ended the session: {end.rcvd.reason}.") from end


class WebSocketLink:
    """Opens sessions with the control plane at `url` (http, https, ws or wss), authenticated by `token`."""

    def __init__(self, url: str, token: str, *, open_timeout: float = 10.0) -> None:
        self._url = session_url(url)
        self._token = token
        self._open_timeout = open_timeout

    @asynccontextmanager
    async def open(self, hello: Hello) -> AsyncIterator[WebSocketSession]:
        socket = await self._connect()
        try:
            yield await self._greet(socket, hello)
        finally:
            await socket.close()

    async def _connect(self) -> ClientConnection:
        secure = ssl.create_default_context() if self._url.startswith("wss:") else None
        try:
            return await connect(
                self._url,
                ssl=secure,
                additional_headers={"Authorization": f"Bearer {self._token}"},
                open_timeout=self._open_timeout,
                max_size=MAX_MESSAGE,
                compression=None,
            )
        except InvalidStatus as error:
            if (full := _without_room(error.response)) is not None:
                raise full from error
            status = error.response.status_code
            if status in (401, 403, 429):  # the last for who is refused again and again
                raise ControlPlaneRefused(
                    f"The control plane at {self._url} does not accept this agent's token.",
                    remedy="Give it the contents of agent.token, which `modeldist server` wrote: --token-file or "
                    "MODELDIST_AGENT_TOKEN.",
                ) from error
            raise ControlPlaneUnreachable(f"The control plane at {self._url} answered {status}.") from error
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
            raise unreachable(self._url, error) from error

    async def _greet(self, socket: ClientConnection, hello: Hello) -> WebSocketSession:
        try:
            await socket.send(encode(hello))
            frame = await asyncio.wait_for(socket.recv(decode=False), self._open_timeout)
            answer = decode_from_control(frame)
        except (ConnectionClosed, TimeoutError, msgspec.MsgspecError) as error:
            raise ControlPlaneUnreachable(f"{self._url} does not answer like a control plane ({error}).") from error
        if isinstance(answer, Refused):
            raise answer.error.as_error()
        if not isinstance(answer, Welcome) or answer.protocol != PROTOCOL:
            raise ControlPlaneRefused(
                f"The control plane at {self._url} speaks another protocol version.",
                remedy="Run the same modeldist version on the control plane and the agents.",
            )
        return WebSocketSession(socket, answer, self._url)


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
    except msgspec.MsgspecError:
        return None
    error = ErrorInfo(said.code, said.detail, said.remedy, said.retry_after).as_error()
    return error if isinstance(error, Overloaded) else None


def session_url(url: str) -> str:
    """`https://host:7420` -> `wss://host:7420/session`."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + PATH, "", ""))
