"""Everything that listens is known here, and lets nobody in without credentials.

A listener is found where the kernel has it and where the code makes one, not in a list: a new one fails these tests
until it has a row of its own below and a test of who may use it. Routes, kinds of requests and frames are found too.
"""

from __future__ import annotations

import ast
import base64
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast, get_args

import httpx2
import psutil
import pytest
from starlette.routing import Route

from modeldist.agent.local_api import create_local_app
from modeldist.artifact import Digest
from modeldist.gateway.hub import paths as hub_paths
from modeldist.gateway.oci import paths as oci_paths
from modeldist.scheduler.messages import JoinTasks, TaskJoin, TaskJoined
from modeldist.transfer import frames
from modeldist.transfer.frame_reader import BodyData
from tests.security.gateway_requests import hub_requests, oci_requests
from tests.security.house import GRANTED, NODES, SCRAPES, WEIGHTS, House, all_routes
from tests.security.listening import Listening, listening, listens_itself
from tests.security.other_user import NOBODY, ask, ask_one_of
from tests.security.piece_target import CHILD, Target, heard, one_of_each
from tests.servers.registry import PASSWORD, USERNAME
from tests.servers.scripted_agent import scripted_agent

REPOSITORY = Path(__file__).parents[2]

MADE_IN = {
    "modeldist/control/server.py": "test_every_route.py",
    "modeldist/agent/serving.py": "the agent's socket and the gateway, below; metrics: tests/integration/metrics",
    "modeldist/transfer/tcp/server.py": "the piece server, below",
    "modeldist/transfer/bench.py": "a benchmark's own peer on loopback, which serves zeros",
    "modeldist/bench/nginx.py": "finds a free port for a benchmark's rival",
    "modeldist/bench/shaped_link.py": "a benchmark's link in front of its own server, on loopback",
    "modeldist/ray/control_actor.py": "finds a free port for a control plane",
}

_OPENS = re.compile(
    r"listen|bind|create_(unix_)?server|start_(unix_)?server|create_datagram_endpoint|serve_forever|(\w+)?(HTTP|TCP|UDP)Server"
)
_NOT_SOCKETS = {"event.listen", "bind", "_listen", "listen"}  # SQLAlchemy, functools.partial; functions of servers


def opens_a_listener(source: str) -> bool:
    """Whether it calls what opens one."""
    if not _OPENS.search(source):
        return False
    called = [ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return any(_OPENS.fullmatch(name.rpartition(".")[2]) for name in called if name not in _NOT_SOCKETS)


def test_the_code_makes_no_other_listeners() -> None:
    found = {
        str(path.relative_to(REPOSITORY))
        for package in ("modeldist", "modelpack", "rdma")
        for path in (REPOSITORY / package).rglob("*.py")
        if opens_a_listener(path.read_text())
    }
    assert found == set(MADE_IN), "who may use this listener? Its test belongs into the table above"


def test_processes_listen_nowhere_else(house: House) -> None:
    listens_itself()
    server = listening(house.cluster.server.pid)
    assert server == {Listening("tcp", house.cluster.url.removeprefix("http://"))}
    assert listening(house.cluster.agents[0].pid) == {
        Listening("tcp", house.pieces),
        Listening("tcp", house.gateway.removeprefix("http://")),
        Listening("tcp", house.metrics),
        Listening("unix", str(house.agent.path)),
    }


def test_all_of_it_is_on_loopback_unless_told_otherwise(house: House) -> None:
    for process in (house.cluster.server, *house.cluster.agents):
        for one in listening(process.pid):
            assert one.kind == "unix" or one.where.startswith(("127.", "[::1]")), one
            assert not one.where.startswith("@"), f"{one}: an abstract name keeps nobody out"


def test_what_is_written_is_for_its_owner_alone(house: House) -> None:
    """Sockets, tokens, keys, databases, also where everybody may enter the directory above."""
    home = house.cluster.home
    secrets = [home / "control" / name for name in ("admin.token", "agent.token", "control.sqlite")]
    for path in (house.agent.path, *secrets, *(home / "control").glob("control.sqlite-*")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((home / "control").stat().st_mode) == 0o700


def test_secrets_are_in_no_process_list_log_answer_database_nor_store(house: House, web: httpx2.Client) -> None:
    """Of the nodes, of callers, of the control plane, after pulls that worked and pulls that did not."""
    cluster, agent = house.cluster, house.agent
    web.get(f"{house.gateway}/org/private/resolve/main/{WEIGHTS}", headers={"Authorization": f"Bearer {GRANTED}"})
    private = f"{house.gateway}/v2/{house.registry.host.replace(':', '_')}/org/private/manifests/v1"
    assert web.get(private, auth=(USERNAME, PASSWORD)).status_code == 200
    said = [web.get(private, auth=(USERNAME, f"{PASSWORD}-wrong")).text]
    for reference in ("hf://org/absent", f"{house.registry.host}/org/private:v1"):  # of the agent nobody is logged in
        *_, last = agent.events(agent.start_pull(reference).pull)
        assert last.state == "failed"
        said.append(repr(last))
    said += [repr(agent.status()), repr(agent.artifacts()), cluster.server.log, cluster.agents[0].log]
    for process in (cluster.server.pid, cluster.agents[0].pid):
        said.append(" ".join(psutil.Process(process).cmdline()))
    for folder in (cluster.home / "control", cluster.store(0)):
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):  # gone meanwhile
                if path.is_file() and path.suffix not in (".token", ".lock"):
                    said.append(path.read_bytes().decode("latin-1"))
    assert len(said) > 15
    assert any("--token-file" in text for text in said)
    basic = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    own = [cluster.token(kind).rpartition("_")[2] for kind in ("admin", "agent")]
    for secret in (NODES, GRANTED, SCRAPES, basic, f"{USERNAME}:{PASSWORD}", f"{PASSWORD}-wrong", *own):
        for text in said:
            assert secret not in text, text[max(0, text.index(secret) - 300) : text.index(secret) + 100]


# --- the agent's socket ---


def routes_of_the_agent() -> list[tuple[str, str]]:
    found = []
    for route in all_routes(create_local_app(cast(Any, None), cast(Any, None)).routes):
        assert isinstance(route, Route), f"{route!r}: this test cannot ask it"
        found += [(method, route.path) for method in sorted(route.methods or ())]
    assert len(found) >= 15
    return found


def test_no_route_answers_to_another_user(house: House) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else; the test below looks at modes")
    path, asked = house.agent.path, routes_of_the_agent()
    assert set(ask(path, NOBODY, asked).values()) == {"PermissionError"}
    assert ask(path, 0, [("GET", "/v1/status")]) == {"GET /v1/status": "HTTP/1.1 200"}


def test_who_listens_in_the_agents_place_is_not_asked() -> None:
    """In a directory that is open to all, somebody else may be there first, and would say where models are."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # which others can reach
        place = Path(name)
        place.chmod(0o1777)
        assert "Another user (uid 54321) listens" in ask_one_of(place / "a.sock", listens=54321, asks=54322)
        assert ask_one_of(place / "b.sock", listens=54321, asks=54321) == "[]\n"
        assert ask_one_of(place / "c.sock", listens=54321, asks=0) == "[]\n"
        assert ask_one_of(place / "d.sock", listens=0, asks=54322) == "[]\n"
        os.chown(place, 54321, -1)
        assert ask_one_of(place / "e.sock", listens=54321, asks=54322) == "[]\n"


# --- the gateway ---


HUB_WRONG = [None, "Bearer hf_nobody", "Basic c29tZWJvZHk6d3Jvbmc=", "Bearer"]
OCI_WRONG = [None, ("somebody", "wrong"), (USERNAME, "wrong"), (USERNAME, "")]


@pytest.fixture(scope="module")
def web() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=60, trust_env=False) as web:
        yield web


def test_every_kind_of_request_of_the_hub(house: House, web: httpx2.Client) -> None:
    """All of the model is on the node."""
    requests = hub_requests(house)
    assert set(requests) == set(get_args(hub_paths.Kind)), "a kind of request that nobody asks without credentials"
    for kind, asked in requests.items():
        for request in asked:
            request.headers["Authorization"] = f"Bearer {GRANTED}"
            assert web.send(request).status_code == 200, kind
            for credentials in HUB_WRONG:
                del request.headers["Authorization"]
                if credentials is not None:
                    request.headers["Authorization"] = credentials
                answer = web.send(request)
                assert answer.status_code in (401, 403, 404), (kind, credentials, answer.text)
                told = answer.text + str(answer.headers)
                assert "secret" not in told, (kind, credentials, told)
                assert WEIGHTS not in told.replace(str(request.url), "").replace(request.url.path, "")
                request.headers["Authorization"] = "again"


def test_every_kind_of_request_of_registries(house: House, web: httpx2.Client) -> None:
    requests = oci_requests(house)
    assert set(requests) == set(get_args(oci_paths.Kind)), "a kind of request that nobody asks without credentials"
    held = set(house.image.blobs.values())
    for kind, asked in requests.items():
        for path in asked:
            url = house.gateway + path
            if kind not in ("token", "upload"):
                assert web.get(url, auth=(USERNAME, PASSWORD)).status_code == 200, path
            for credentials in OCI_WRONG:
                for method in ("GET", "HEAD"):
                    answer = web.request(method, url, auth=credentials)
                    assert answer.content not in held, path
                    if kind == "token" or (kind == "base" and credentials):
                        continue  # a token stands for what was given, right or wrong; it is the next test's
                    assert answer.status_code in (401, 403, 404), (path, credentials, answer.text)


def test_a_token_for_nobody_opens_nothing(house: House, web: httpx2.Client) -> None:
    """The mirror gives one to whoever asks, as registries do: it stands for credentials that the registry judges."""
    for credentials in OCI_WRONG:
        token = web.get(house.gateway + oci_paths.TOKENS, auth=credentials).json()["token"]
        for kind, asked in oci_requests(house).items():
            for path in asked if kind not in ("base", "token") else ():
                answer = web.get(house.gateway + path, headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code in (401, 403, 404), (path, credentials, answer.text)


def test_only_under_a_name_of_this_machine_and_to_no_other_site(house: House, web: httpx2.Client) -> None:
    """With the right credentials, which a browser may have: by a name of a page's own, from a page of another site."""
    right = {"Authorization": f"Bearer {GRANTED}"}
    for requests in hub_requests(house).values():
        for request in requests:
            url, method = str(request.url), request.method
            for host in ("attacker.example", "127.0.0.1.attacker.example:80", "169.254.169.254", ""):
                assert web.request(method, url, headers={**right, "Host": host}).status_code in (400, 421), host
            crossing = {**right, "Sec-Fetch-Site": "cross-site"}
            assert web.request(method, url, headers=crossing).status_code == 403
    for asked in oci_requests(house).values():
        for path in asked:
            for headers, status in (({"Host": "attacker.example"}, 421), ({"Sec-Fetch-Site": "cross-site"}, 403)):
                answer = web.get(house.gateway + path, headers=headers, auth=(USERNAME, PASSWORD))
                assert answer.status_code == status, path


def test_no_other_protocol_on_its_port(house: House, web: httpx2.Client) -> None:
    asking = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    answer = web.get(f"{house.gateway}/session", headers={**asking, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    assert answer.status_code in (400, 403, 404, 426), answer.text


# --- the piece server ---


@pytest.fixture
async def target(house: House) -> Target:
    """The capabilities are those that the control plane gives to an agent."""
    cluster = house.cluster
    shard, elsewhere = house.shard, Digest("sha256:" + "0" * 64)
    ws = cluster.url.replace("http", "ws", 1) + "/session"
    given: dict[Digest, bytes] = {}
    async with scripted_agent(ws, cluster.token("agent"), CHILD) as agent:
        for digest in (shard, elsewhere):
            await agent.send(JoinTasks((TaskJoin(digest, house.weights.size, "nowhere"),)))
            given[digest] = (await agent.expect(TaskJoined)).capability
    return Target(house.pieces, shard, house.weights.size, given[shard], given[elsewhere])


def test_with_its_capability_a_child_is_served(target: Target) -> None:
    with target.child() as child:
        child.say(frames.Subscribe(1, target.shard, target.capability), frames.Request(1, 1, 0, target.size))
        body = b""
        assert isinstance(child.next(), frames.Have)
        while len(body) < target.size:
            event = child.next()
            body += event.data if isinstance(event, BodyData) else b""
        assert body == b"secret weights" * 9


def test_a_replayed_capability_opens_nothing(target: Target) -> None:
    """Copied by another node, or shown for another shard, or with a byte that is not as it was signed."""
    changed = bytes([target.capability[0] ^ 1]) + target.capability[1:]
    longer = target.capability + b"\0"
    for name, capability in (
        ("another", target.capability),
        (CHILD, target.another),
        (CHILD, changed),
        (CHILD, longer),
        (CHILD, b""),
    ):
        with target.child(name) as child:
            child.say(frames.Subscribe(1, target.shard, capability), frames.Request(1, 1, 0, target.size))
            events = heard(child)
            assert isinstance(events[0], frames.SubscribeRefused), events
            assert "capability" in events[0].reason
            assert not any(b"secret" in repr(event).encode() for event in events)


def test_no_frame_opens_anything_without_a_capability(target: Target) -> None:
    """Each kind that there is, alone and behind a subscription that was refused."""
    sent = one_of_each(target)
    assert set(sent) == {kind for kind, _ in frames.CONTROL_TYPES.values()}, "a frame that nobody sends here"
    for before in ([], [frames.Subscribe(1, target.shard, b"forged")]):
        for kind, frame in sent.items():
            with target.child() as child:
                child.say(*before, frame)
                for event in heard(child):
                    assert not isinstance(event, frames.Have | frames.Exposed | frames.Body | BodyData), (kind, event)
                    assert not isinstance(event, frames.LanesOpened) or not any(event.ends), (kind, event)
