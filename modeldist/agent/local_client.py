"""Talks to the agent on this machine, over its unix socket. Standard library only: the command line starts fast."""

from __future__ import annotations

import http.client
import select
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from modeldist.agent.progress import PullSnapshot
from modeldist.agent.reading_news import News, WishRequest
from modeldist.agent.socket_owner import check_listener
from modeldist.agent.unix_address import unix_address
from modeldist.errors import UNDECODABLE, AgentError, ErrorInfo
from modeldist.tracing import headers

if TYPE_CHECKING:
    from modeldist.artifact import Digest
    from modeldist.origins.plans import PlanView

TIMEOUT = 30.0  # seconds without any answer; a running pull sends something far more often
QUIET = 5.0  # seconds without one after which it is asked whether it lives, which it has as many to say


T = TypeVar("T")


class AgentAway(AgentError):
    """No agent listens, or the one that did has ended in mid-answer."""


class AgentSilent(AgentAway):
    """It takes connections, and does not answer."""


class AgentForbidden(AgentAway):
    """This user may not open its socket, or not yet: whoever listens sets the mode after having made it."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        super().__init__("agent", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with unix_address(self._path) as address:
            self.sock.connect(address)
        check_listener(self.sock, self._path)


class LocalAgent:
    """The agent listening on `path`. Every method raises AgentError when it cannot be reached, and the agent's own
    error when it answers with one."""

    def __init__(self, path: Path, *, quiet: float = QUIET) -> None:
        """`quiet`: seconds without an answer after which it is asked whether it lives."""
        self.path = path
        self._quiet = quiet

    def running(self) -> bool:
        """Whether an agent listens there (a left-over socket file does not count)."""
        if not self.path.exists():
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                with unix_address(self.path) as address:
                    probe.connect(address)
            except OSError:
                return False
        return True

    def start_pull(self, reference: str, *, offline: bool = False) -> PullSnapshot:
        return self._call("POST", "/v1/pulls", PullSnapshot, {"reference": reference, "offline": offline})

    def plan(self, reference: str) -> PlanView:
        """What the reference means to the agent's control plane, and which bytes of it a pull would need."""
        from modeldist.origins.plans import PlanView

        return self._call("POST", "/v1/plans", PlanView, {"reference": reference})

    def events(self, pull: str) -> Iterator[PullSnapshot]:
        """Snapshots until the pull ends, of which the last is final, or until the agent does. Raises NotFound where it
        knows no such pull, AgentAway."""
        with closing(_UnixConnection(self.path)) as connection:
            response = self._open(connection, "GET", f"/v1/pulls/{quote(pull)}/events", None)
            try:
                while (line := response.readline()).endswith(b"\n"):  # what was killed may leave a half of one
                    yield self._decoded(line, PullSnapshot)
            except (OSError, http.client.HTTPException) as error:
                raise self._cut_off(error) from error

    def read(self, reference: str, *, offline: bool = False) -> ReadingStream:
        """Begin to read a model while it comes, until what is returned is closed."""
        connection = _UnixConnection(self.path)
        try:
            body = {"reference": reference, "offline": offline}
            return ReadingStream(self, connection, self._open(connection, "POST", "/v1/readings", body))
        except BaseException:
            connection.close()
            raise

    def wish(self, reading: str, wishes: Iterable[tuple[Digest, int, int]]) -> None:
        """What a reading waits for next, in order; replaces what it wished before."""
        self._tell("PUT", f"/v1/readings/{quote(reading)}/wishes", WishRequest(tuple(wishes)))

    def cancel(self, pull: str) -> PullSnapshot:
        return self._call("DELETE", f"/v1/pulls/{quote(pull)}", PullSnapshot)

    def pulls(self) -> list[PullSnapshot]:
        return self._call("GET", "/v1/pulls", list[PullSnapshot])

    def find_pull(self, text: str) -> PullSnapshot:
        return self._call("GET", f"/v1/pulls/find?text={quote(text, safe='')}", PullSnapshot)

    def artifacts(self) -> list[dict[str, Any]]:
        return self._call("GET", "/v1/artifacts", list[dict[str, Any]])

    def status(self) -> dict[str, Any]:
        return self._call("GET", "/v1/status", dict[str, Any])

    def live(self) -> None:
        """Raises NotReady where only a restart would help."""
        self._tell("GET", "/healthz")

    def ready(self) -> None:
        """Raises NotReady where a pull would not get far."""
        self._tell("GET", "/readyz")

    def profile(self, seconds: float) -> str:
        """Where it spends its time: stacks, collapsed. Raises Overloaded while another one is made."""
        with closing(_UnixConnection(self.path, seconds + TIMEOUT)) as connection:
            path = f"/v1/profile?seconds={seconds}"
            return self._whole(self._open(connection, "GET", path, None, seconds + TIMEOUT)).decode()

    def remove(self, reference: str) -> dict[str, Any]:
        return self._call("DELETE", f"/v1/artifacts?reference={quote(reference, safe='')}", dict[str, Any])

    def pin(self, reference: str) -> None:
        self._tell("PUT", f"/v1/pins?reference={quote(reference, safe='')}")

    def unpin(self, reference: str) -> None:
        self._tell("DELETE", f"/v1/pins?reference={quote(reference, safe='')}")

    def gc(self, **options: Any) -> dict[str, Any]:
        return self._call("POST", "/v1/gc", dict[str, Any], options)

    def repair(self, artifacts: Iterable[Digest]) -> list[PullSnapshot]:
        """Have artifacts brought again from which something damaged was removed; the pulls that do."""
        from modeldist.agent.local_records import RepairRequest

        return self._call("POST", "/v1/repairs", list[PullSnapshot], RepairRequest(tuple(artifacts)))

    def _call(self, method: str, path: str, kind: type[T], body: Any = None) -> T:
        with closing(_UnixConnection(self.path)) as connection:
            return self._decoded(self._whole(self._open(connection, method, path, body)), kind)

    def _tell(self, method: str, path: str, body: Any = None) -> None:
        with closing(_UnixConnection(self.path)) as connection:
            self._whole(self._open(connection, method, path, body))

    def _whole(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._cut_off(error) from error

    def _cut_off(self, error: Exception) -> AgentAway:
        return AgentAway(
            f"The agent at {self.path} stopped answering ({error}).", remedy="Its log says why; pull again to resume."
        )

    def _decoded(self, answer: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer, type=kind)
        except UNDECODABLE as error:
            raise AgentError(
                f"The answer of the agent at {self.path} cannot be understood ({error}).",
                remedy="It may be of another version than this program: use the same for both.",
            ) from error

    def _open(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any, limit: float = TIMEOUT
    ) -> http.client.HTTPResponse:
        try:
            sent = None if body is None else msgspec.json.encode(body)
            connection.request(method, path, sent, dict(headers()))
            self._await(connection.sock, limit)
            response = connection.getresponse()
        except PermissionError as error:
            raise AgentForbidden(
                f"The agent at {self.path} cannot be reached: this user may not open its socket ({error}).",
                remedy="Let this user into the socket's directory and write to it, or run this as the agent's user.",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise AgentAway(
                f"The agent at {self.path} cannot be reached ({error}).",
                remedy="Start it with `modeldist agent`, or leave MODELDIST_SOCKET unset to pull without one.",
            ) from error
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise _error(self._whole(response), response.status)
        return response

    def _await(self, asked: socket.socket, limit: float) -> None:
        """Return once there is something to read. Raises AgentSilent after `limit` seconds, or when an agent that has
        said nothing for a while does not say that it lives: a stopped process takes connections, and no more."""
        until = time.monotonic() + limit
        answer = select.poll()
        answer.register(asked, select.POLLIN)
        while not answer.poll(1000 * self._quiet):
            if time.monotonic() > until:
                raise self._silent(limit)
            with closing(_UnixConnection(self.path, self._quiet)) as probe:
                try:
                    probe.request("GET", "/healthz")
                    probe.getresponse().read()
                except TimeoutError as error:
                    raise self._silent(2 * self._quiet) from error

    def _silent(self, seconds: float) -> AgentSilent:
        return AgentSilent(
            f"The agent at {self.path} does not answer: it has said nothing for {seconds:.0f} s.",
            remedy="Its process is stopped, or has no time: look at it, and end it or have it go on (kill -CONT).",
        )


class ReadingStream:
    """The news of a reading, as they come. `close()`, from any thread, ends the reading."""

    def __init__(self, agent: LocalAgent, connection: _UnixConnection, response: http.client.HTTPResponse) -> None:
        self._agent = agent
        self._connection = connection
        self._response = response
        self._socket = connection.sock

    def __iter__(self) -> Iterator[News]:
        """Raises AgentError when the agent ends before the last of them."""
        try:
            while line := self._response.readline():
                yield msgspec.json.decode(line, type=News)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise AgentError(
                f"The agent at {self._agent.path} stopped answering ({error}).",
                remedy="Its log says why; open the model again to go on.",
            ) from error
        finally:
            self._connection.close()

    def close(self) -> None:
        """Whoever waits for news has them end."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _error(body: bytes, status: int) -> Exception:
    try:
        return msgspec.json.decode(body, type=ErrorInfo).as_error()
    except UNDECODABLE:
        return AgentError(f"The agent answered {status}: {body[:200].decode(errors='replace')}.")
