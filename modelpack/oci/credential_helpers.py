"""The protocol of `docker-credential-*` programs: one verb as argument, a secret only by stdin and stdout."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from dataclasses import dataclass

from modelpack.errors import RegistryUnauthorized

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_FOUND = "credentials not found"  # how helpers say, on stdout, that they have nothing


@dataclass(frozen=True, slots=True)
class CredentialHelper:
    """`docker-credential-<name>`, named in `configured_in`. Every call raises RegistryUnauthorized when the helper is
    missing, fails, or takes longer than `timeout` seconds; never with what it printed, which may hold a secret."""

    name: str
    configured_in: str
    path: str | None = None
    timeout: float = 30.0

    async def get(self, server: str) -> tuple[str, str] | None:
        """User name and secret; None when the helper has none for `server`."""
        status, output = await self._run("get", server.encode())
        if status != 0:
            if _NOT_FOUND in output.decode(errors="replace").lower():
                return None
            raise self._failed(f"failed with exit status {status}")
        try:
            answer = json.loads(output)
            username, secret = answer["Username"], answer["Secret"]
            (username + secret).encode()  # texts, and whole characters
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._failed("answered something that is not credentials") from None
        return (username, secret) if username or secret else None

    async def store(self, server: str, username: str, secret: str) -> None:
        entry = json.dumps({"ServerURL": server, "Username": username, "Secret": secret})
        await self._expect_success("store", entry.encode())

    async def erase(self, server: str) -> None:
        await self._expect_success("erase", server.encode())

    async def _expect_success(self, verb: str, given: bytes) -> None:
        status, _ = await self._run(verb, given)
        if status != 0:
            raise self._failed(f"failed with exit status {status}")

    async def _run(self, verb: str, given: bytes) -> tuple[int, bytes]:
        program = shutil.which(self.program, path=self.path) if _NAME.fullmatch(self.name) else None
        if program is None:
            raise self._failed("is not installed")
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                verb,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise self._failed(f"cannot be run: {error.strerror}") from None
        try:
            output, _ = await asyncio.wait_for(process.communicate(given), self.timeout)
        except TimeoutError:
            raise self._failed(f"did not answer within {self.timeout:.0f} seconds") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return process.returncode or 0, output

    @property
    def program(self) -> str:
        return f"docker-credential-{self.name}"

    def _failed(self, problem: str) -> RegistryUnauthorized:
        return RegistryUnauthorized(
            f"The credential helper {self.program}, named in {self.configured_in}, {problem}.",
            remedy=f"Install or repair it, or remove it from {self.configured_in}.",
        )
