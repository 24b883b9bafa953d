"""Several processes of one control plane on one PostgreSQL: who answers, who takes over, what a deposed one can do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from modeldist import __version__
from modeldist.client import AsyncClient, Client
from modeldist.control.metrics.names import SERVER_METRICS
from modeldist.control.replicas.lock import LeaderLock
from modeldist.control.store.database import Database, engine_for
from modeldist.control.store.tokens import Tokens
from modeldist.errors import NotLeading, Unsupported, UsageError
from modeldist.scheduler.messages import JoinTasks, LeaseGranted, TaskJoin, TaskJoined
from modeldist.session.messages import StartPull
from tests.servers.cluster import MODELDIST
from tests.servers.postgres_cluster import PostgresCluster
from tests.servers.replicated_cluster import ReplicatedCluster, probe
from tests.servers.scripted_agent import PATIENCE, open_socket, scripted_agent

# What is said of agents and their tasks, where there are some.
NOT_WITHOUT_AGENTS = {
    f"modeldist_server_{name}" for name in ("heard_age_seconds", "load_age_seconds", "task_origin_ratio")
}
OF_THE_LOCK = """
pg_locks WHERE locktype = 'advisory' AND granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
END_THE_LOCK = f"SELECT pg_terminate_backend(pid) FROM {OF_THE_LOCK}"
BEATS = f"SELECT query_start > :since FROM pg_stat_activity WHERE pid IN (SELECT pid FROM {OF_THE_LOCK})"
REPLICAS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'modeldist replica'
"""


@pytest.fixture
def database_url(postgres: PostgresCluster) -> str:
    return postgres.new_database()


@pytest.fixture(scope="module")
def two(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedCluster]:
    with ReplicatedCluster(tmp_path_factory.mktemp("two"), 0, database_url=postgres.new_database()) as cluster:
        yield cluster


@pytest.fixture
def replicas(two: ReplicatedCluster) -> ReplicatedCluster:
    """Two that run, whatever a test before did to them, and no agents."""
    for replica, port in zip(two.replicas, two.ports, strict=True):
        if not replica.running:
            replica.start()
            replica.wait_for("it to listen", partial(answers, port, "/healthz", 200))
    two.wait_led()
    return two


def answers(port: int, path: str, status: int) -> bool:
    return probe(port, path) == status


def url_of(cluster: ReplicatedCluster, index: int) -> str:
    return f"http://127.0.0.1:{cluster.ports[index]}"


def session_of(cluster: ReplicatedCluster, index: int) -> str:
    return f"ws://127.0.0.1:{cluster.ports[index]}/session"


async def led_by(cluster: ReplicatedCluster, index: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(cluster.leader) != index:
            await asyncio.sleep(0.02)


async def test_who_stands_by_says_so_and_who_leads(replicas: ReplicatedCluster) -> None:
    leader = replicas.wait_led()
    other = 1 - leader
    admin = replicas.token("admin")
    assert probe(replicas.ports[other], "/healthz") == 200
    assert probe(replicas.ports[other], "/readyz") == 503
    assert probe(replicas.ports[other], "/api/v1/status") == 401
    request = urllib.request.Request(
        f"{url_of(replicas, other)}/api/v1/status", headers={"Authorization": f"Bearer {admin}"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=PATIENCE)
    with refused.value as answer:
        assert answer.code == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Retry-After"] == "1"
        problem = json.loads(answer.read())
    assert problem["code"] == "not_leading"
    assert f"the one at {url_of(replicas, leader)} leads" in problem["detail"]
    assert "--server" in problem["remedy"]
    with pytest.raises(InvalidStatus) as handshake:
        async with open_socket(session_of(replicas, other), replicas.token("agent")):
            pass
    assert handshake.value.response.status_code == 503
    order = [url_of(replicas, other), url_of(replicas, leader)]
    async with AsyncClient(order, admin) as client:
        assert (await client.status()).database == "postgresql"
    with Client(",".join(order), admin) as blocking:
        assert blocking.status().agents == 0


def test_who_stands_by_has_metrics_that_say_so(replicas: ReplicatedCluster) -> None:
    leader = replicas.wait_led()
    said = {}
    for index, port in enumerate(replicas.ports):
        assert probe(port, "/metrics") == 401
        request = urllib.request.Request(
            f"{url_of(replicas, index)}/metrics", headers={"Authorization": f"Bearer {replicas.token('admin')}"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            said[index] = {family.name: family.samples for family in families}
    leads, stands_by = said[leader], said[1 - leader]
    assert [sample.value for sample in leads["modeldist_server_leading"]] == [1]
    assert [sample.value for sample in stands_by["modeldist_server_leading"]] == [0]
    assert stands_by["modeldist_server_info"][0].labels["version"] == __version__
    # Of the cluster it knows nothing, which is not the same as none.
    of_itself = {"info", "leading", "http_requests", "http_seconds"}
    assert set(stands_by) == {f"modeldist_server_{name}" for name in of_itself}
    assert set(leads) == {name.removesuffix("_total") for name in SERVER_METRICS} - NOT_WITHOUT_AGENTS


async def test_what_a_killed_leader_had_begun_goes_on(replicas: ReplicatedCluster) -> None:
    leader = replicas.wait_led()
    other = 1 - leader
    async with AsyncClient(replicas.url, replicas.token("admin")) as client:
        made = await client.create_pull("memory://org/model:v1", "all")
        async with scripted_agent(session_of(replicas, leader), replicas.token("agent"), "a") as agent:
            assert (await agent.expect(StartPull)).pull == made.id
            replicas.replicas[leader].kill()
            await agent.closed()
        waiting = asyncio.create_task(client.wait(made.id))
        await led_by(replicas, other)
        async with scripted_agent(session_of(replicas, other), replicas.token("agent"), "a") as agent:
            asked = await agent.expect(StartPull)
            assert asked.pull == made.id
            await agent.finish(asked)
            async with asyncio.timeout(PATIENCE):
                assert (await waiting).state == "done"


async def test_who_is_told_to_stop_lets_another_one_lead_first(replicas: ReplicatedCluster) -> None:
    leader = replicas.wait_led()
    async with scripted_agent(session_of(replicas, leader), replicas.token("agent"), "a") as agent:
        replicas.replicas[leader].stop()
        assert (await agent.closed())[0] in (1001, 1012)
    await led_by(replicas, 1 - leader)


@asynccontextmanager
async def postgresql(cluster: ReplicatedCluster) -> AsyncIterator[AsyncConnection]:
    engine = engine_for(cluster.database_url)
    try:
        async with engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        await engine.dispose()


async def beat_found(connection: AsyncConnection, replicas: int) -> None:
    """Return once the leader's last beat found so many replicas."""
    async with asyncio.timeout(PATIENCE):
        while (await connection.execute(text(REPLICAS))).scalar_one() != replicas:
            await asyncio.sleep(0.05)
        since = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
        while (await connection.execute(text(BEATS), {"since": since})).all() != [(True,)]:
            await asyncio.sleep(0.05)


async def end_the_lock(connection: AsyncConnection, *, replicas: int) -> None:
    """The leader's connection, once its last beat found so many replicas."""
    await beat_found(connection, replicas)
    await connection.execute(text(END_THE_LOCK))


async def test_who_loses_the_connection_of_its_lock_leads_no_more(replicas: ReplicatedCluster) -> None:
    leader = replicas.wait_led()
    async with (
        postgresql(replicas) as connection,
        scripted_agent(session_of(replicas, leader), replicas.token("agent"), "a") as agent,
    ):
        await end_the_lock(connection, replicas=2)
        code, reason = await agent.closed()
        assert (code, "leads no more" in reason) == (1001, True)
    replicas.replicas[leader].wait_for("its reason", lambda: "PostgreSQL" in replicas.replicas[leader].log)
    replicas.wait_led()


async def test_the_only_replica_goes_on_without_its_lock_and_gets_it_again(replicas: ReplicatedCluster) -> None:
    leader = replicas.wait_led()
    replicas.replicas[1 - leader].kill()
    async with scripted_agent(session_of(replicas, leader), replicas.token("agent"), "a") as agent:
        async with postgresql(replicas) as connection:
            await end_the_lock(connection, replicas=1)
            async with asyncio.timeout(PATIENCE):
                while "PostgreSQL is back" not in replicas.replicas[leader].log:
                    await asyncio.sleep(0.05)
        async with AsyncClient(url_of(replicas, leader), replicas.token("admin")) as client:
            await client.create_pull("memory://org/model:v1", "all")
        await agent.expect(StartPull)
    replicas.replicas[1 - leader].start()
    replicas.replicas[1 - leader].wait_for(
        "it to stand by", lambda: probe(replicas.ports[1 - leader], "/readyz") == 503
    )


async def test_a_leader_that_is_stopped_is_replaced_and_cannot_go_on_where_it_was(replicas: ReplicatedCluster) -> None:
    leader = replicas.wait_led()
    other = 1 - leader
    admin = replicas.token("admin")
    async with (
        AsyncClient(url_of(replicas, other), admin) as client,
        scripted_agent(session_of(replicas, leader), replicas.token("agent"), "a") as agent,
    ):
        replicas.replicas[leader].send(signal.SIGSTOP)
        try:
            async with asyncio.timeout(PATIENCE):
                while probe(replicas.ports[other], "/readyz") != 200:
                    await asyncio.sleep(0.05)
        finally:
            replicas.replicas[leader].send(signal.SIGCONT)
        assert (await agent.closed())[0] == 1001
        assert (await client.status()).agents == 0
    async with asyncio.timeout(PATIENCE):
        while probe(replicas.ports[leader], "/readyz") != 503:
            await asyncio.sleep(0.05)
    assert probe(replicas.ports[other], "/readyz") == 200


async def test_the_only_replica_that_was_stopped_grants_nothing_once_another_one_leads(
    replicas: ReplicatedCluster,
) -> None:
    leader = replicas.wait_led()
    other = 1 - leader
    replicas.replicas[other].kill()
    join = JoinTasks((TaskJoin("sha256:" + "ab" * 32, 4 << 20, "registry.example"),))  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        agents = [
            await stack.enter_async_context(
                scripted_agent(session_of(replicas, leader), replicas.token("agent"), f"agent-{index}")
            )
            for index in range(30)
        ]
        async with postgresql(replicas) as connection:
            await beat_found(connection, 1)
            await beat_found(connection, 1)  # so it has been told what the first one found
        replicas.replicas[leader].send(signal.SIGSTOP)
        try:
            replicas.replicas[other].start()
            async with asyncio.timeout(PATIENCE):
                while probe(replicas.ports[other], "/readyz") != 200:
                    await asyncio.sleep(0.05)
            for agent in agents:
                await agent.send(join)
        finally:
            replicas.replicas[leader].send(signal.SIGCONT)
        for agent in agents:
            with suppress(ConnectionClosed):
                while True:
                    assert not isinstance(await agent.receive(), TaskJoined | LeaseGranted)


async def test_nothing_of_an_earlier_term_is_written_after_a_later_one_began(database_url: str) -> None:
    database = await Database.open(database_url)
    locks = [await LeaderLock.open(database.engine) for _ in range(2)]
    assert [await lock.attempt() for lock in locks] == [True, False]
    first = database.during(await locks[0].begin("a", "http://a"))
    assert await Tokens(first).create("mine", "read")
    locks[0].abort()
    async with asyncio.timeout(PATIENCE):
        while not await locks[1].attempt():
            await asyncio.sleep(0.02)
    async with first.transaction() as session:  # the next term waits for what has begun
        beginning = asyncio.create_task(locks[1].begin("b", "http://b"))
        await asyncio.wait({beginning}, timeout=0.2)
        assert not beginning.done()
        await session.execute(text("UPDATE tokens SET name = 'yours'"))
    second = database.during(await beginning)
    with pytest.raises(NotLeading):
        await Tokens(first).create("late", "read")
    assert [token.name for token in await Tokens(second).all()] == ["yours"]
    assert (await locks[1].leader()) == (await beginning)
    await locks[1].close()
    await database.close()


def test_the_schema_is_not_taken_from_under_replicas_that_run(replicas: ReplicatedCluster) -> None:
    where = ["--state-dir", str(replicas.home / "other"), "--database-url", replicas.database_url]
    command = [*MODELDIST, "server", "--migrate-to", "0005", *where]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == UsageError.exit_code
    assert "Replicas of the control plane run on this database (2). Stop all of them first." in refused.stderr


def audit_of(cluster: ReplicatedCluster, index: int) -> list[dict[str, object]]:
    headers = {"Authorization": f"Bearer {cluster.token('admin')}"}
    request = urllib.request.Request(f"{url_of(cluster, index)}/api/v1/audit", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        records: list[dict[str, object]] = json.loads(answer.read())["records"]
    return records


async def test_all_replicas_tell_the_same_of_who_did_what(replicas: ReplicatedCluster) -> None:
    leader = replicas.wait_led()
    other = 1 - leader
    async with AsyncClient(url_of(replicas, leader), replicas.token("admin")) as client:
        pull = await client.create_pull("memory://org/audited:v1", "all")
        assert probe(replicas.ports[other], "/api/v1/refused-by-who-stands-by") == 401
        async with asyncio.timeout(PATIENCE):  # it writes by itself
            while not any("by-who-stands-by" in str(each["asked"]) for each in audit_of(replicas, leader)):
                await asyncio.sleep(0.05)
        await client.cancel_pull(pull.id)
    before = audit_of(replicas, leader)
    assert before[0]["action"] == "cancel_pull"
    assert {str(each["action"]) for each in before[1:3]} == {"", "create_pull"}
    replicas.replicas[leader].stop()
    await led_by(replicas, other)
    assert audit_of(replicas, other)[-len(before) :] == before


async def test_a_rollout_that_would_update_replicas_is_refused_before_it_begins(replicas: ReplicatedCluster) -> None:
    replicas.wait_led()
    command = [*MODELDIST, "rollout", "start", "memory://ops/modeldist:v2", "--all", "--control-plane"]
    where = {"MODELDIST_SERVER": replicas.url, "MODELDIST_TOKEN": replicas.token("admin")}
    refused = await asyncio.to_thread(
        subprocess.run,
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **where},
    )
    assert refused.returncode == Unsupported.exit_code, refused.stderr
    assert "nothing was begun" in refused.stderr
    assert "one after the other, the leader last (docs/upgrade.md)" in refused.stderr
    async with AsyncClient(replicas.url, replicas.token("admin")) as client:
        with pytest.raises(Unsupported, match="not updated by a rollout"):
            await client.create_rollout("memory://ops/modeldist:v2", "all", control_plane=True)
        assert (await client.list_rollouts()).rollouts == []
