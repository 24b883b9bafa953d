"""A real `modeldist server` on loopback, on a core of its own, with an empty state directory."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from modeldist.errors import ControlPlaneUnreachable

START_WITHIN = 30.0  # seconds
STOP_WITHIN = 30.0


class ServerProcess:
    """`url` is its base; `complaints` counts the warnings and errors of its log by event."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.complaints: Counter[str] = Counter()
        self.pid = process.pid
        self._process = psutil.Process(process.pid)

    def peak(self) -> int:
        """The most resident bytes that it had so far."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return self.rss()

    def rss(self) -> int:
        """Resident bytes."""
        return int(self._process.memory_info().rss)

    def cpu(self) -> float:
        """Seconds of CPU so far, all its threads."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def note(self, line: bytes) -> None:
        said = _parsed(line)
        if said.get("level") in ("warning", "error", "critical"):
            self.complaints[said.get("event", "")[:120]] += 1


@asynccontextmanager
async def server_process(
    state_dir: Path, core: int | None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[ServerProcess]:
    """Started on `core`, told to stop at the end. `settings` by name, as the environment has them. Raises
    ControlPlaneUnreachable when it does not start."""
    process = await _start(state_dir, core, settings or {})
    assert process.stderr is not None
    reading = None
    try:
        url, said = await _listening(process.stderr)
        server = ServerProcess(process, url, (state_dir / "agent.token").read_text().strip())
        for line in said:
            server.note(line)
        reading = asyncio.create_task(_read(process.stderr, server))
        yield server
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if reading is not None:
            await reading


async def _start(state_dir: Path, core: int | None, settings: Mapping[str, str]) -> asyncio.subprocess.Process:
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})  # inherited, by its threads too
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "modeldist", "server", "--port", "0", "--log-json"),
            "--state-dir",
            str(state_dir),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            limit=1 << 20,  # a traceback is one line of JSON
            env=os.environ | {f"MODELDIST_SERVER_{name.upper()}": text for name, text in settings.items()},
        )
    finally:
        os.sched_setaffinity(0, before)


async def _listening(stderr: asyncio.StreamReader) -> tuple[str, list[bytes]]:
    """The URL it says it listens on, and all it said until then."""
    said: deque[bytes] = deque(maxlen=100)
    try:
        async with asyncio.timeout(START_WITHIN):
            while line := await stderr.readline():
                said.append(line)
                if (event := _parsed(line)).get("event") == "listening":
                    return event["url"], list(said)
    except TimeoutError:
        pass
    text = b"".join(said).decode(errors="replace").strip()
    raise ControlPlaneUnreachable(f"`modeldist server` did not start: {text or 'it said nothing'}")


async def _read(stderr: asyncio.StreamReader, server: ServerProcess) -> None:
    while line := await stderr.readline():
        server.note(line)


def _parsed(line: bytes) -> dict[str, str]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
