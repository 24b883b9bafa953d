"""Machines become nodes, once each, by join tokens; and nodes get certificates, for themselves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner
from cryptography import x509

from modeldist.agent.enrolling import api_url, enrol, renew
from modeldist.agent.identity import NodeIdentity
from modeldist.cli.main import program
from modeldist.control.store.database import Database
from modeldist.control.store.meta import Meta
from modeldist.control.store.tokens import Tokens
from modeldist.errors import ControlPlaneRefused, UsageError
from modeldist.session.messages import Refused, Welcome
from modeldist.transfer.tls.names import node_of, uri_of
from modeldist.transfer.tls.requests import new_request
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import hello, open_socket

MakeNode = Callable[[str], NodeIdentity]


@pytest.fixture
def node(tmp_path: Path) -> MakeNode:
    def make(name: str) -> NodeIdentity:
        (tmp_path / name).mkdir(exist_ok=True)
        return NodeIdentity(tmp_path / name)

    return make


async def join_token(control: ServedControlPlane, lifetime: float = 600.0) -> str:
    return await control.plane.tokens.create("join", "join", lifetime)


def named(identity: NodeIdentity) -> str:
    certificate = x509.load_pem_x509_certificate((identity.folder / "node.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return node_of(tuple(("URI", name.value) for name in names))


async def test_a_machine_becomes_a_node(control: ServedControlPlane, node: MakeNode) -> None:
    """On either database."""
    mine = node("a")
    assert not mine.enrolled and mine.contexts() is None
    await enrol(control.url, await join_token(control), "a", mine)
    assert mine.enrolled and named(mine) == "a" and mine.contexts() is not None
    assert 23.9 * 3600 < mine.left() <= 24 * 3600
    owner = await control.plane.tokens.verify(mine.token)
    assert owner is not None and (owner.scope, owner.name) == ("node", "a")
    for path in mine.folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert mine.folder.stat().st_mode & 0o777 == 0o700


async def test_a_join_token_is_good_once(control: ServedControlPlane, node: MakeNode) -> None:
    token = await join_token(control)
    await enrol(control.url, token, "a", node("a"))
    with pytest.raises(ControlPlaneRefused):
        await enrol(control.url, token, "b", node("b"))
    assert not node("b").enrolled


async def test_of_many_that_use_it_at_once_one_is_enrolled(control: ServedControlPlane, node: MakeNode) -> None:
    token = await join_token(control)
    asked = [enrol(control.url, token, f"n{number}", node(f"n{number}")) for number in range(6)]
    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(end is None for end in ended) == 1, ended
    assert all(end is None or isinstance(end, ControlPlaneRefused) for end in ended), ended
    assert sum(each.scope == "node" for each in await control.plane.tokens.all()) == 1


async def test_an_expired_join_token(sqlite_control: ServedControlPlane, node: MakeNode) -> None:
    with pytest.raises(ControlPlaneRefused):
        await enrol(sqlite_control.url, await join_token(sqlite_control, -1.0), "a", node("a"))


async def test_one_that_expires_between_its_check_and_its_use(database_url: str) -> None:
    now = [1000.0]
    database = await Database.open(database_url)
    try:
        tokens = Tokens(database, lambda: now[0])
        join = await tokens.verify(await tokens.create("join", "join", 10.0))
        assert join is not None
        now[0] += 11.0
        assert await tokens.enrol(join, "a") is None
    finally:
        await database.close()


async def test_a_bad_request_takes_nothing(sqlite_control: ServedControlPlane, node: MakeNode) -> None:
    token = await join_token(sqlite_control)
    async with httpx2.AsyncClient(base_url=api_url(sqlite_control.url), trust_env=False) as http:
        bearer = {"Authorization": f"Bearer {token}"}
        _, good = new_request()
        for body, status in (
            ({"node": "a", "csr": "nonsense"}, 400),
            ({"node": "a b", "csr": good.decode()}, 422),
            ({"node": "../a", "csr": good.decode()}, 422),
            ({"node": "a\n", "csr": good.decode()}, 422),
            ({"node": "", "csr": good.decode()}, 422),
            ({"csr": good.decode()}, 422),
            ({"node": "a", "csr": "x" * 100_000}, 422),
        ):
            answer = await http.post("enrol", json=body, headers=bearer)
            assert answer.status_code == status, (body, answer.text)
    await enrol(sqlite_control.url, token, "a", node("a"))


async def test_nobody_becomes_a_node_that_is_enrolled(control: ServedControlPlane, node: MakeNode) -> None:
    """Until it is revoked. The join token of who tried is still good."""
    first = node("first")
    await enrol(control.url, await join_token(control), "a", first)
    token = await join_token(control)
    with pytest.raises(ControlPlaneRefused, match="Node a is enrolled already"):
        await enrol(control.url, token, "a", node("second"))
    assert await control.plane.tokens.revoke("a") is not None
    await enrol(control.url, token, "a", node("second"))
    with pytest.raises(ControlPlaneRefused):
        await renew(control.url, first)


async def test_renewal(sqlite_control: ServedControlPlane, node: MakeNode) -> None:
    """A new key and a new certificate, for itself; the token stays."""
    mine = node("a")
    await enrol(sqlite_control.url, await join_token(sqlite_control), "a", mine)
    pair, token = (mine.folder / "node.pem").read_bytes(), mine.token
    await renew(sqlite_control.url, mine)
    assert (mine.folder / "node.pem").read_bytes() != pair
    assert (named(mine), mine.token) == ("a", token)
    assert {path.name for path in mine.folder.iterdir()} == {"authority.pem", "node.pem", "token"}


async def test_a_revoked_node_gets_no_certificate(sqlite_control: ServedControlPlane, node: MakeNode) -> None:
    """Not even in the seconds for which its token is remembered."""
    mine = node("a")
    await enrol(sqlite_control.url, await join_token(sqlite_control), "a", mine)
    await renew(sqlite_control.url, mine)
    elsewhere = Tokens(sqlite_control.plane.database)
    assert await elsewhere.revoke("a") is not None
    assert await sqlite_control.plane.tokens.verify(mine.token) is not None
    with pytest.raises(ControlPlaneRefused, match="no longer enrolled"):
        await renew(sqlite_control.url, mine)


async def test_the_agents_token_gets_no_certificate(sqlite_control: ServedControlPlane) -> None:
    async with httpx2.AsyncClient(base_url=api_url(sqlite_control.url), trust_env=False) as http:
        for token in (sqlite_control.agent_token, sqlite_control.admin_token):
            for what in ("certificate", "enrol"):
                body = {"csr": new_request()[1].decode()} | ({"node": "a"} if what == "enrol" else {})
                answer = await http.post(what, json=body, headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == 403, answer.text


async def greeted(control: ServedControlPlane, token: str, name: str) -> Welcome | Refused:
    async with open_socket(control.ws, token) as agent:
        await agent.send(hello(name))
        answer = await agent.receive()
        assert isinstance(answer, Welcome | Refused)
        return answer


async def test_a_nodes_token_opens_its_own_session_alone(sqlite_control: ServedControlPlane, node: MakeNode) -> None:
    mine = node("a")
    await enrol(sqlite_control.url, await join_token(sqlite_control), "a", mine)
    welcome = await greeted(sqlite_control, mine.token, "a")
    assert isinstance(welcome, Welcome) and welcome.piece_tls == "off"
    refused = await greeted(sqlite_control, mine.token, "b")
    assert isinstance(refused, Refused) and "with the token of node a" in refused.error.message


async def test_nobody_takes_over_from_a_node_with_the_agents_token(
    sqlite_control: ServedControlPlane, node: MakeNode
) -> None:
    """Which anybody may have, where TLS is not required. The node itself comes back as it did."""
    await enrol(sqlite_control.url, await join_token(sqlite_control), "a", node("a"))
    async with open_socket(sqlite_control.ws, node("a").token) as own:
        await own.send(hello("a", instance="own"))
        await own.expect(Welcome)
        async with open_socket(sqlite_control.ws, sqlite_control.agent_token) as other:
            await other.send(hello("a", instance="other"))
            refused = await other.expect(Refused)
            assert "connected with a token of its own" in refused.error.message
        async with open_socket(sqlite_control.ws, node("a").token) as again:
            await again.send(hello("a", instance="own"))
            await again.expect(Welcome)


@pytest.mark.parametrize("mode", ["prefer", "require"])
async def test_who_may_join_a_cluster_with_tls(tmp_path: Path, node: MakeNode, mode: str) -> None:
    async with served_control_plane(tmp_path / "state", MemoryOrigin(), piece_tls=mode) as control:
        mine = node("a")
        await enrol(control.url, await join_token(control), "a", mine)
        welcome = await greeted(control, mine.token, "a")
        assert isinstance(welcome, Welcome) and welcome.piece_tls == mode
        for token in (control.agent_token, control.admin_token):
            answer = await greeted(control, token, "b")
            if mode == "prefer":
                assert isinstance(answer, Welcome)
            else:
                assert isinstance(answer, Refused) and "modeldist token join" in answer.error.remedy


async def test_the_authority_is_made_once_and_for_one_cluster(database_url: str, tmp_path: Path) -> None:
    async def authority(url: str) -> bytes:
        database = await Database.open(url)
        try:
            meta = Meta(database)
            found = {(await meta.identity()).authority for _ in range(2)}
        finally:
            await database.close()
        assert len(found) == 1
        return found.pop()

    first = await authority(database_url)
    assert await authority(database_url) == first
    assert await authority(f"sqlite:///{tmp_path}/another.sqlite") != first
    assert b"PRIVATE KEY" in first and "PRIVATE" not in uri_of("a")


async def test_secrets_of_enrolment_are_not_in_the_database(sqlite_control: ServedControlPlane, node: MakeNode) -> None:
    token, mine = await join_token(sqlite_control), node("a")
    await enrol(sqlite_control.url, token, "a", mine)
    pending = await join_token(sqlite_control)
    key = (mine.folder / "node.pem").read_text().splitlines()[1]
    for file in sqlite_control.state_dir.glob("control.sqlite*"):
        held = file.read_bytes()
        for secret in (token, pending, mine.token):
            assert secret.rpartition("_")[2].encode() not in held
        assert key.encode() not in held


async def test_no_secrets_over_a_network_in_the_clear(node: MakeNode) -> None:
    for control in ("http://control.example:7420", "ws://control.example", "control.example:7420"):
        with pytest.raises(UsageError, match="in the clear"):
            await enrol(control, "md_x", "a", node("a"))


def test_the_command(tmp_path: Path) -> None:
    state = tmp_path / "state"

    async def use(token: str, name: str) -> bool:
        async with served_control_plane(state, MemoryOrigin()) as served:
            (tmp_path / name).mkdir()
            try:
                await enrol(served.url, token, name, NodeIdentity(tmp_path / name))
            except ControlPlaneRefused:
                return False
            return True

    assert not asyncio.run(use("md_0123456789abcdef_" + "0" * 64, "nobody"))
    made = CliRunner().invoke(program, ["token", "join", "--name", "rack 7", "--state-dir", str(state)])
    assert made.exit_code == 0, made.output
    assert "enrols one agent" in made.stderr
    token = made.stdout.strip()
    listed = CliRunner().invoke(program, ["token", "ls", "--state-dir", str(state)]).output
    assert "rack 7" in listed and token.rpartition("_")[2] not in listed
    assert asyncio.run(use(token, "a"))
    listed = CliRunner().invoke(program, ["token", "ls", "--state-dir", str(state)]).output
    assert "rack 7" not in listed and "node" in listed
    assert not asyncio.run(use(token, "b"))
