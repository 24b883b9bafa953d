"""A certificate is renewed in time, and an attempt that fails is not the last one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

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
