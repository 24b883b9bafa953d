"""A certificate is renewed in time, and an attempt that fails is not the last one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from modeldist.agent.certificate_keeper import CertificateKeeper
from modeldist.agent.identity import NodeIdentity
from modeldist.errors import ControlPlaneUnreachable
from modeldist.transfer.tls.authority import Authority, new_authority
from modeldist.transfer.tls.requests import new_request
from modeldist.transfer.tls.security import PieceSecurity
from tests.unit.transfer.shelf import until


async def test_it_is_renewed_until_it_works(tmp_path: Path) -> None:
    """Whatever went wrong. Meanwhile nothing is shown that has expired."""
    now = [time.time()]
    authority = Authority(new_authority("the tests"), lambda: now[0])
    identity = NodeIdentity(tmp_path, lambda: now[0])

    def issue(lifetime: float) -> None:
        key, request = new_request()
        identity.keep(key, authority.certify(request.decode(), "a", lifetime), authority.certificate, "a token")

    wrong = [ControlPlaneUnreachable("away"), RuntimeError("a bug")]
    seen: list[bool] = []

    async def renew() -> None:
        seen.append(security.contexts is not None)
        if wrong:
            now[0] += 4.0  # the certificate expires in between
            raise wrong.pop()
        issue(3600.0)

    issue(6.0)
    now[0] += 4.0
    security = PieceSecurity("require")
    running = asyncio.create_task(CertificateKeeper(identity, security, renew).run())
    try:
        await until(lambda: len(seen) == 3 and security.contexts is not None)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert seen == [True, False, False]
    assert 3500 < identity.left() <= 3600 and abs(identity.half() - 1800) < 1


async def test_a_clock_that_is_ahead_asks_for_no_certificate_after_the_other(tmp_path: Path) -> None:
    """Each is half over, or expired, for this node, as soon as it comes. What still holds is shown."""
    ahead = 20.0
    authority = Authority(new_authority("the tests"), time.time)
    identity = NodeIdentity(tmp_path, lambda: time.time() + ahead)
    asked: list[tuple[float, bool]] = []

    async def renew() -> None:
        asked.append((time.monotonic(), security.contexts is not None))
        key, request = new_request()
        identity.keep(key, authority.certify(request.decode(), "a", 30.0), authority.certificate, "a token")

    security = PieceSecurity("require")
    running = asyncio.create_task(CertificateKeeper(identity, security, renew).run())
    try:
        await until(lambda: len(asked) >= 2)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    (first, begun), (second, shown) = asked[:2]
    assert second - first >= 0.7, "half of a tenth of half of what it lasts"
    assert not begun and shown


async def test_a_clock_that_is_set_forward_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that begins with a clock of years ago renews in time once it has the right one."""
    monkeypatch.setattr("modeldist.agent.certificate_keeper.LOOK", 0.01)
    years = 1e8
    now = [time.time() - years]
    authority = Authority(new_authority("the tests"), time.time)
    identity = NodeIdentity(tmp_path, lambda: now[0])
    renewed = asyncio.Event()

    async def renew() -> None:
        renewed.set()
        key, request = new_request()
        identity.keep(key, authority.certify(request.decode(), "a", 3600.0), authority.certificate, "a token")

    await renew()
    renewed.clear()
    running = asyncio.create_task(CertificateKeeper(identity, PieceSecurity("require"), renew).run())
    try:
        await asyncio.sleep(0)
        now[0] += years + 3000.0
        await asyncio.wait_for(renewed.wait(), 20)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
