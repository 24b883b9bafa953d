"""The control plane becomes another version of itself, as its agents do (`modeldist.agent.updating`): it has the
release fetched by this program's own `pull`, installs it beside what runs, and leaves for the launcher to try it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from modeldist import __version__
from modeldist.control.rollouts.rollout import Plan
from modeldist.control.settings import ServerSettings
from modeldist.errors import (
    UNDECODABLE,
    AgentError,
    ErrorInfo,
    ModeldistError,
    PullFailed,
    StorageError,
    Unsupported,
)
from modeldist.upgrade.keys import release_keys
from modeldist.upgrade.versions import PLACE, Trial, Versions

log = logging.getLogger(__name__)

_FETCHED_WITHIN = 900.0  # seconds


class Said(Protocol):
    """`RolloutBook.said_by_own`."""

    def __call__(self, rollout_id: str, step: str, error: ErrorInfo | None = None) -> None: ...


class _Pulled(msgspec.Struct):
    path: str


class _Failed(msgspec.Struct):
    error: ErrorInfo


class OwnUpdate:
    """`said` is told how it goes on, `written` has the rollout written down, `revision` says to which schema the
    database would have to go back. `restarting` is True once this process makes place for another version."""

    def __init__(
        self,
        settings: ServerSettings,
        said: Said,
        written: Callable[[], Awaitable[None]],
        revision: Callable[[], Awaitable[str | None]],
        *,
        single: bool,
        stop: Callable[[], None] = lambda: signal.raise_signal(signal.SIGTERM),
    ) -> None:
        place = os.environ.get(PLACE)
        self.restarting = False
        self._settings = settings
        self._said = said
        self._written = written
        self._revision = revision
        self._single = single
        self._stop = stop
        self._keys = release_keys(settings.release_key)
        self._versions = Versions(Path(place)) if place else None
        self._doing: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    def refusal(self) -> ErrorInfo | None:
        """Why this process does not update itself; None where it does."""
        try:
            self._place()
        except Unsupported as error:
            return error.info()
        return None

    def listening(self) -> None:
        """This version came up: it has its database and its socket."""
        if self._versions is None:
            return
        if (trial := self._versions.trial()) is not None:
            self._versions.came_up()
            self._keeping = asyncio.create_task(self._keep(trial), name="keeping this version")
        elif (outcome := self._versions.outcome()) is not None:
            went = outcome.result == "gone_back"
            error = AgentError(f"{outcome.version} was given up: {outcome.why}.").info() if went else None
            self._said(outcome.id, outcome.result, error)

    async def _keep(self, trial: Trial) -> None:
        assert self._versions is not None
        self._said(trial.id, "up")
        await asyncio.sleep(trial.keep_after)
        self._versions.keep()
        self._said(trial.id, "kept")

    def forward(self, rollout: str, plan: Plan) -> None:
        self._begin(rollout, self._forward(rollout, plan))

    def back(self, rollout: str) -> None:
        self._begin(rollout, self._back(rollout))

    async def close(self) -> None:
        for task in (self._doing, self._keeping):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _begin(self, rollout: str, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Unsupported as error:
                self._said(rollout, "refused", error.info())
            except ModeldistError as error:
                self._said(rollout, "failed", error.info())
            except Exception as error:
                log.exception("the control plane could not update itself")
                self._said(rollout, "failed", ErrorInfo(ModeldistError.code, f"{type(error).__name__}: {error}."))

        before = self._doing
        if before is not None:
            before.cancel()
        self._doing = asyncio.create_task(guarded(), name=f"own update {rollout}")

    async def _forward(self, rollout: str, plan: Plan) -> None:
        from modeldist.upgrade.installing import install
        from modeldist.upgrade.release import admit, read

        versions = self._place()
        self._said(rollout, "fetching")
        folder = await self._fetched(plan.release)
        release = await asyncio.to_thread(read, folder, self._keys)
        if release.version == __version__:
            self._said(rollout, "kept")
            return
        admit(release, __version__, time.time())
        self._said(rollout, "installing")
        await asyncio.to_thread(install, release, folder, versions)
        revision = await self._revision()
        undo = ("--migrate-to", revision) if revision else ()
        versions.begin(Trial(rollout, release.version, versions.current, plan.within, plan.health, undo))
        await self._leave(rollout)

    async def _back(self, rollout: str) -> None:
        versions = self._place()
        outcome, trial = versions.outcome(), versions.trial()
        went = outcome is not None and (outcome.id, outcome.result) == (rollout, "kept")
        if not went and (trial is None or trial.id != rollout):
            self._said(rollout, "gone_back")  # it never went
            return
        if self._keeping is not None:
            self._keeping.cancel()
        if not versions.go_back(rollout, "the rollout went back"):
            raise StorageError("The version before is not there any more.", remedy="Update to a newer one.")
        await self._leave(rollout)

    async def _leave(self, rollout: str) -> None:
        self._said(rollout, "restarting")
        await self._written()
        self.restarting = True
        self._stop()

    async def _fetched(self, reference: str) -> Path:
        """By a process of its own, as a person would pull it here. Raises ModeldistError."""
        settings = self._settings
        command = [sys.executable, "-P", "-m", "modeldist", "pull", "--json", "--quiet", "--no-agent"]
        command += ["--store", str(settings.state_dir / "releases"), "--registry", settings.default_registry]
        for registry in settings.plain_http_registries:
            command += ["--plain-http", registry]
        pulling = await asyncio.create_subprocess_exec(
            *command, "--", reference, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        try:
            out, _ = await asyncio.wait_for(pulling.communicate(), _FETCHED_WITHIN)
        except TimeoutError:
            raise PullFailed(f"Fetching {reference} took more than {_FETCHED_WITHIN:.0f} seconds.") from None
        finally:
            if pulling.returncode is None:
                pulling.kill()
                await pulling.wait()
        try:
            if pulling.returncode:
                raise msgspec.json.decode(out, type=_Failed).error.as_error()
            return Path(msgspec.json.decode(out, type=_Pulled).path)
        except UNDECODABLE:
            raise PullFailed(f"Fetching {reference} ended with exit code {pulling.returncode}.") from None

    def _place(self) -> Versions:
        """Raises Unsupported."""
        if not self._single:
            raise Unsupported(
                "A control plane on PostgreSQL, of which there may be replicas, is not updated by a rollout; nothing "
                "was begun.",
                remedy="Roll out to the agents without --control-plane (control_plane); then update the "
                "replicas one after the other, the leader last (docs/upgrade.md).",
            )
        if self._versions is None:
            raise Unsupported(
                "This control plane was not started by `modeldist launch`: what started it updates it, as Kubernetes "
                "does with an image.",
                remedy="Roll out a new image or package, or start it by `modeldist launch` (docs/upgrade.md).",
            )
        if not self._keys:
            raise Unsupported(
                "This control plane takes releases from nobody.",
                remedy="Give it the public key of those who make them: --release-key.",
            )
        return self._versions
