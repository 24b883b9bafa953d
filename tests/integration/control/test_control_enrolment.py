"""Machines become nodes, once each, by join tokens; and nodes get certificates, for themselves alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from sqlalchemy import select

from modeldist.agent.enrolling import api_url, enrol, renew
from modeldist.agent.identity import NodeIdentity
from modeldist.cli.main import program
from modeldist.control.authority_watch import AuthorityWatch
from modeldist.control.store.database import Database
from modeldist.control.store.meta import Meta
from modeldist.control.store.tables import MetaRow
from modeldist.control.store.tokens import Tokens
from modeldist.control.token_watch import NO_TOKEN, TokenWatch
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
            assert "has a token of its own" in refused.error.message
        async with open_socket(sqlite_control.ws, node("a").token) as again:
            await again.send(hello("a", instance="own"))
            await again.expect(Welcome)


async def test_nor_while_it_is_away(control: ServedControlPlane, node: MakeNode) -> None:
    """Nor after a restart of the control plane, until somebody with its state directory says that it is no more."""
    await enrol(control.url, await join_token(control), "a", node("a"))
    for token in (control.agent_token, control.admin_token):
        refused = await greeted(control, token, "a")
        assert isinstance(refused, Refused) and refused.error.remedy.endswith(
            "`modeldist token revoke a` on the control plane's machine."
        )
    assert isinstance(await greeted(control, control.agent_token, "b"), Welcome)
    started_again = TokenWatch(control.plane.tokens, control.plane.core, time.monotonic)
    await started_again.look()
    assert started_again.enrolled("a") and not started_again.enrolled("b")
    assert isinstance(await greeted(control, node("a").token, "a"), Welcome)
    assert await Tokens(control.plane.database).revoke("a") is not None
    await control.plane.token_watch.look()
    assert isinstance(await greeted(control, control.agent_token, "a"), Welcome)


async def test_a_session_ends_with_its_token(control: ServedControlPlane, node: MakeNode) -> None:
    """By a command beside the control plane, which looks every few seconds."""
    await enrol(control.url, await join_token(control), "a", node("a"))
    lent = await control.plane.tokens.create("lent", "agent", lifetime=600.0)
    async with (
        open_socket(control.ws, node("a").token) as own,
        open_socket(control.ws, lent) as other,
        open_socket(control.ws, control.agent_token) as third,
    ):
        for agent, name in ((own, "a"), (other, "b"), (third, "c")):
            await agent.send(hello(name))
            await agent.expect(Welcome)
        await control.plane.token_watch.look()
        elsewhere = Tokens(control.plane.database)
        for which, agent in (("a", own), ("lent", other)):
            assert await elsewhere.revoke(which) is not None
            await control.plane.token_watch.look()
            code, reason = await agent.closed()
            assert (code, reason) == (1001, NO_TOKEN)
        assert set(control.plane.core.sessions) == {"c"}


async def test_a_session_ends_when_its_token_expires(database_url: str, tmp_path: Path) -> None:
    ahead = [0.0]
    async with served_control_plane(tmp_path / "state", MemoryOrigin(), database_url) as control:
        lent = await control.plane.tokens.create("lent", "agent", lifetime=600.0)
        async with open_socket(control.ws, lent) as agent:
            await agent.send(hello("a"))
            await agent.expect(Welcome)
            tokens = Tokens(control.plane.database, lambda: time.time() + ahead[0])
            watch = TokenWatch(tokens, control.plane.core, time.monotonic)
            await watch.look()
            ahead[0] = 601.0
            await watch.look()
            assert (await agent.closed())[1] == NO_TOKEN


async def test_nodes_and_status_say_who_is_enrolled(tmp_path: Path, node: MakeNode) -> None:
    async with served_control_plane(tmp_path / "state", MemoryOrigin(), piece_tls="prefer") as control:
        await enrol(control.url, await join_token(control), "a", node("a"))
        async with (
            open_socket(control.ws, node("a").token) as own,
            open_socket(control.ws, control.agent_token) as other,
            control.client() as client,
        ):
            for agent, name in ((own, "a"), (other, "b")):
                await agent.send(hello(name))
                await agent.expect(Welcome)
            assert (await client.status()).piece_tls == "prefer"
            listed = (await client.list_nodes()).nodes
            assert {each.node: each.enrolled for each in listed} == {"a": True, "b": False}
            assert (await client.get_node("a")).enrolled
            shown = await asyncio.to_thread(
                CliRunner().invoke,
                program,
                ["status", "--server", control.url],
                env={"MODELDIST_TOKEN": control.admin_token, "COLUMNS": "200"},
            )
            assert shown.exit_code == 0, shown.output
            assert "TLS between nodes: between those that are enrolled" in shown.output
            lines = [line.split() for line in shown.output.splitlines()]
            assert [line[-1] for line in lines if line[:2] in (["a", "a"], ["b", "b"])] == ["enrolled", "127.0.0.1:1"]


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


async def test_another_authority_takes_its_place(database_url: str, tmp_path: Path, node: MakeNode) -> None:
    """Begun by the command beside a control plane, which takes step after step."""
    given = ["--state-dir", str(tmp_path / "state"), "--database-url", database_url]

    async def run(*command: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, program, ["authority", *command, *given])
        assert result.exit_code == code, result.output
        return result.output + result.stderr

    async def trusted() -> list[str]:
        return list(json.loads(await run("show", "--json"))["trusted"])

    now = [0.0]
    async with served_control_plane(tmp_path / "state", MemoryOrigin(), database_url) as control:
        mine = node("a")
        await enrol(control.url, await join_token(control), "a", mine)
        (old,) = await trusted()
        assert await run("show") == f"certifies  {old}\nIt is the only one.\n"
        assert "waits for the control plane" in await run("rotate")
        assert "being replaced already" in await run("rotate", code=2)
        watch = AuthorityWatch(Meta(control.plane.database), lambda: now[0], time.time, 3600.0, lambda: True)
        seen = []
        for _ in range(4):
            await watch.look()
            certificate, bundle = watch.certify(new_request()[1].decode(), "a")
            seen.append((_prints(bundle), _signer(certificate, bundle)))
            now[0] += 3600.0 * 1.05
        new = seen[0][0][1]
        assert seen == [([old, new], old), ([new, old], new), ([new], new), ([new], new)]
        assert await trusted() == [new]
        assert "It is the only one" in await run("show")
        await control.plane.authority_watch.look()
        await renew(control.url, mine)
        assert _prints((mine.folder / "authority.pem").read_bytes()) == [new] and mine.contexts() is not None
    held = await _meta_rows(database_url)
    assert sum(b"PRIVATE KEY" in value for value in held.values()) == 1


def _prints(bundle: bytes) -> list[str]:
    return [each.fingerprint(hashes.SHA256()).hex() for each in x509.load_pem_x509_certificates(bundle)]


def _signer(certificate: bytes, bundle: bytes) -> str:
    """Whose signature it has."""
    made = x509.load_pem_x509_certificate(certificate)
    for authority in x509.load_pem_x509_certificates(bundle):
        try:
            made.verify_directly_issued_by(authority)
        except InvalidSignature:
            continue
        return authority.fingerprint(hashes.SHA256()).hex()
    raise AssertionError("nobody's that is trusted")


async def _meta_rows(database_url: str) -> dict[str, bytes]:
    database = await Database.open(database_url)
    try:
        async with database.transaction() as session:
            return {row.key: row.value for row in (await session.execute(select(MetaRow))).scalars()}
    finally:
        await database.close()


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
    assert listed.split()[:4] == ["ID", "SCOPE", "EXPIRES", "NAME"]
    assert "rack 7" in listed and token.rpartition("_")[2] not in listed
    assert asyncio.run(use(token, "a"))
    listed = CliRunner().invoke(program, ["token", "ls", "--state-dir", str(state)]).output
    assert "rack 7" not in listed and "node" in listed
    assert not asyncio.run(use(token, "b"))
