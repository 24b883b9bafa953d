"""Webhooks: sent when a pull ended, signed, repeated until they are taken, kept over restarts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modeldist.control.pulls.pull import Pull
from modeldist.control.pulls.selection import Selector
from modeldist.control.webhooks.deliveries import PAUSES, Webhooks
from modeldist.control.webhooks.destinations import Destinations
from modeldist.control.webhooks.signing import Webhook, signed
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import StartPull
from tests.servers.control_plane import ServedControlPlane, served_control_plane
from tests.servers.memory_origin import MemoryOrigin
from tests.servers.scripted_agent import PATIENCE, scripted_agent
from tests.servers.webhook_receiver import Came, WebhookReceiver, webhook_receiver

REFERENCE = "memory://org/model:v1"
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
START = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as receiver:
        yield receiver


def rest(control: ServedControlPlane) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {control.admin_token}"}
    return httpx2.AsyncClient(base_url=f"{control.url}/api/v1/", headers=headers, trust_env=False)


def asked(url: str, **more: object) -> dict[str, Any]:
    return {"reference": REFERENCE, "nodes": "all", "webhook": {"url": url, "secret": SECRET}, **more}


async def outcome(http: httpx2.AsyncClient, pull: str, state: str, attempts: int) -> dict[str, Any]:
    """Wait until the control plane has written down what became of so many attempts."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found: dict[str, Any] = (await http.get(f"pulls/{pull}/webhook")).raise_for_status().json()
            if (found["state"], found["attempts"]) == (state, attempts):
                return found


def proven(came: Came) -> bool:
    content = f"{came.headers['webhook-id']}.{came.headers['webhook-timestamp']}.".encode() + came.body
    expected = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
    return came.headers["webhook-signature"] == f"v1,{expected}"


def test_the_example_of_the_specification() -> None:
    made = signed(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    )
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_webhook_tells_that_a_pull_is_done(control: ServedControlPlane, receiver: WebhookReceiver) -> None:
    async with rest(control) as http, scripted_agent(control.ws, control.agent_token, "a") as agent:
        made = (await http.post("pulls", json=asked(receiver.url))).raise_for_status()
        assert SECRET not in made.text
        pull = made.json()["id"]
        assert (await outcome(http, pull, "waiting", 0))["url"] == receiver.url.partition("?")[0]
        await agent.finish(await agent.expect(StartPull))
        came = await receiver.next()
        assert came.path == "/hook?of=me"
        assert came.headers["content-type"] == "application/json"
        assert came.headers["webhook-id"] == f"pull_{pull}"
        assert proven(came)
        told = json.loads(came.body)
        assert told["type"] == "pull.done"
        assert told["data"] == (await http.get(f"pulls/{pull}")).json()
        done = await outcome(http, pull, "delivered", 1)
        assert (done["due"], done["error"]) == (None, "")
        other = (await http.post("pulls", json={"reference": REFERENCE, "nodes": "all"})).json()["id"]
        assert (await http.get(f"pulls/{other}/webhook")).json()["state"] == "none"
        cancelled = (await http.post("pulls", json=asked(receiver.url))).json()["id"]
        await http.delete(f"pulls/{cancelled}")
        assert json.loads((await receiver.next()).body)["type"] == "pull.cancelled"
        assert receiver.empty


async def test_a_webhook_is_repeated_until_it_is_taken_also_after_a_restart(
    tmp_path: Path, origin: MemoryOrigin, database_url: str, receiver: WebhookReceiver
) -> None:
    clock = Clock()
    state = tmp_path / "state"
    receiver.answers = [500, 302]
    async with served_control_plane(state, origin, database_url, now=clock) as before, rest(before) as http:
        pull = (await http.post("pulls", json=asked(receiver.url))).json()["id"]
        await http.delete(f"pulls/{pull}")
        first = await receiver.next()
        failed = await outcome(http, pull, "waiting", 1)
        assert (failed["due"], failed["error"]) == (START + PAUSES[0], "It answered 500.")
        clock.time += PAUSES[0]
        second = await receiver.next()
        failed = await outcome(http, pull, "waiting", 2)
        assert (failed["due"], failed["error"]) == (clock.time + PAUSES[1], "It answered 302.")
    clock.time += PAUSES[1]
    async with served_control_plane(state, origin, database_url, now=clock) as after, rest(after) as http:
        third = await receiver.next()
        await outcome(http, pull, "delivered", 3)
    assert receiver.empty
    assert len({came.headers["webhook-id"] for came in (first, second, third)}) == 1
    assert len({came.headers["webhook-timestamp"] for came in (first, second, third)}) == 3
    assert all(proven(came) for came in (first, second, third))
    assert first.body == second.body == third.body


async def test_a_webhook_that_nobody_takes_is_given_up(tmp_path: Path, origin: MemoryOrigin) -> None:
    clock = Clock()
    with webhook_receiver() as gone:
        urls = [gone.url, "http://127.0.0.1:1/"]  # nobody listens there from now on, nor ever there
    async with served_control_plane(tmp_path / "state", origin, now=clock) as control, rest(control) as http:
        pulls = [(await http.post("pulls", json=asked(url))).json()["id"] for url in urls]
        for pull in pulls:
            await http.delete(f"pulls/{pull}")
        for attempt, pause in enumerate(PAUSES, start=1):
            for pull in pulls:
                assert (await outcome(http, pull, "waiting", attempt))["due"] == clock.time + pause
            clock.time += pause
        for pull in pulls:
            given_up = await outcome(http, pull, "failed", len(PAUSES) + 1)
            assert given_up["due"] is None
            assert given_up["error"].startswith("It cannot be reached: ")


async def test_webhooks_that_cannot_be(sqlite_control: ServedControlPlane) -> None:
    good = "https://platform.example/hook"
    async with rest(sqlite_control) as http:
        for webhook, status in (
            ({"url": good}, 422),
            ({"url": "ftp://platform.example", "secret": SECRET}, 422),
            ({"url": "https://user:pass@platform.example/", "secret": SECRET}, 422),
            ({"url": "/hook", "secret": SECRET}, 422),
            ({"url": "http://127.0.0.1:99999/", "secret": SECRET}, 422),
            ({"url": "http://[::1", "secret": SECRET}, 422),
            ({"url": good, "secret": "hidden"}, 400),
            ({"url": good, "secret": "whsec_hidden"}, 400),
            ({"url": good, "secret": "whsec_" + base64.b64encode(b"short").decode()}, 400),
        ):
            answer = await http.post("pulls", json={"reference": REFERENCE, "nodes": "all", "webhook": webhook})
            assert (answer.status_code, answer.json()["code"]) == (status, "usage"), webhook
            assert "hidden" not in answer.text
            assert "pass@" not in answer.text
        key = {"Idempotency-Key": "k"}
        answers = [
            await http.post("pulls", json=asked(url), headers=key) for url in (good, good, "https://other.example/")
        ]
        assert [answer.status_code for answer in answers] == [202, 202, 422]


async def test_a_webhook_that_leads_inside(tmp_path: Path, origin: MemoryOrigin) -> None:
    """Whoever may ask for a pull does not reach what the control plane alone can reach."""
    async with served_control_plane(tmp_path / "state", origin, webhook_hosts=()) as control, rest(control) as http:
        for url in ("http://127.0.0.1:9/", "http://169.254.169.254/latest/", "http://localhost/", "http://10.0.0.1/"):
            refused = await http.post("pulls", json=asked(url))
            assert (refused.status_code, refused.json()["code"]) == (400, "usage")
            assert "--webhook-host" in refused.json()["remedy"]
        assert (await http.get("pulls")).json()["pulls"] == []


class Due:
    """One delivery. Satisfies `DeliveryStore`."""

    def __init__(self, pull: Pull) -> None:
        self._due: list[tuple[Pull, int]] = [(pull, 0)]
        self.told: asyncio.Queue[str] = asyncio.Queue()

    async def due(self, now: float, limit: int) -> list[tuple[Pull, int]]:
        due, self._due = self._due, []
        return due

    async def taken(self, pull: str, attempts: int) -> None:
        self.told.put_nowait("")

    async def again(self, pull: str, attempts: int, at: float | None, error: str) -> None:
        self.told.put_nowait(error)


@pytest.mark.parametrize(
    ("allowed", "addresses", "error"),
    [
        ((), ["127.0.0.1"], "platform.example (127.0.0.1): the address is loopback."),
        ((), ["169.254.169.254"], "the address is link-local."),
        ((), [], "nobody knows the name platform.example."),
        (("*.example",), ["127.0.0.1"], ""),
        (("127.0.0.1",), ["10.0.0.1", "127.0.0.1"], ""),  # the one it may not be sent to is passed over
        (("127.0.0.0/8",), ["127.0.0.2", "127.0.0.1"], ""),  # nobody listens at the first
    ],
)
async def test_a_name_that_leads_inside(
    receiver: WebhookReceiver, allowed: tuple[str, ...], addresses: list[str], error: str
) -> None:
    """What was looked at is what is connected to: the name is looked up once, and is the one the receiver hears of."""
    looked_up = []

    async def resolve(host: str) -> list[str]:
        looked_up.append(host)
        return addresses

    url = receiver.url.replace("127.0.0.1", "platform.example")
    ended = Pull(
        id="p1",
        reference=REFERENCE,
        priority=Priority.PULL,
        selector=Selector(everyone=True),
        created_at=START,
        webhook=Webhook(url, SECRET),
    )
    due = Due(ended)
    webhooks = Webhooks(due, lambda: START, lambda pull: {"id": pull.id}, Destinations(allowed), resolve)
    running = asyncio.create_task(webhooks.run())
    try:
        told = await asyncio.wait_for(due.told.get(), PATIENCE)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert told.endswith(error) if error else told == ""
    assert looked_up == ["platform.example"]
    if not error:
        came = await receiver.next()
        assert came.headers["host"] == url.split("/")[2]
    assert receiver.empty
