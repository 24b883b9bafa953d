"""schemathesis as a program of its own, as whoever integrates with the API would run it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.servers.control_plane import ServedControlPlane

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


async def schemathesis(
    control: ServedControlPlane, room: Path, command: str, *options: str, token: str | None = None
) -> tuple[int, str]:
    """(its exit status, what it printed) of a `schemathesis run` or `fuzz` in the directory `room`. `token`: that of an
    administrator unless another one is given, none at all for an empty one."""
    document = room / "openapi.json"
    document.write_bytes(await _document(control))
    shown = control.admin_token if token is None else token
    headers = ["--header", f"Authorization: Bearer {shown}"] if shown else []
    arguments: Sequence[str] = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "--no-color"),
        *(command, str(document), "--url", control.url, "--request-timeout", "60", *headers, *options),
    ]
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=room,
        env=os.environ | {"PYTHONWARNINGS": "ignore", "COLUMNS": "120"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, printed.decode(errors="replace")


async def _document(control: ServedControlPlane) -> bytes:
    import httpx2

    headers = {"Authorization": f"Bearer {control.admin_token}"}
    async with httpx2.AsyncClient(base_url=control.url, headers=headers, trust_env=False) as http:
        return (await http.get("/api/v1/openapi.json")).raise_for_status().content
