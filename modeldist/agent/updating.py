"""This node becomes another version of itself, on the control plane's word (docs/upgrade.md).

It takes a release from nobody but whom the key belongs to that its operator gave it, and changes nothing of itself:
it installs the release beside what runs, writes down that it is to be tried, and leaves with an exit code that the
launcher knows. The next process says that it came up, and later keeps the version.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from modeldist import __version__
from modeldist.agent.engine import Engine
from modeldist.agent.pulls import Pulls
from modeldist.agent.resuming import write_down
from modeldist.errors import (
    AgentError,
    ErrorInfo,
    ModeldistError,
    StorageError,
    StoreDamaged,
    Unsupported,
)
from modeldist.logger import Logger
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import Update, UpdateProgress, UpdateState, Welcome
from modeldist.upgrade.versions import CRASHES, PLACE, Outcome, Trial, Versions
from modelpack.trust.keys import PublicKey

log = Logger(__name__)

LONGEST = 3600.0  # seconds that a control plane may ask for, of any kind
TESTED = 64 << 20  # bytes at most of the file that is read to see that reading works
STARTS = 10.0  # seconds beside those that a version has to come up


def versions_of_launcher() -> Versions | None:
    """Where the versions of this program are; None where no launcher runs it."""
    place = os.environ.get(PLACE)
    return Versions(Path(place)) if place else None


class Updates:
    """Takes the engine's updates from now on. `restarting` is True once this process makes place for another version;
    `stop` has it end."""

    def __init__(
        self,
        engine: Engine,
        pulls: Pulls,
        *,
        keys: tuple[PublicKey, ...],
        versions: Versions | None,
        stop: Callable[[], None] = lambda: signal.raise_signal(signal.SIGTERM),
    ) -> None:
        self.restarting = False
        self._engine = engine
        self._pulls = pulls
        self._keys = keys
        self._versions = versions
        self._stop = stop
        self._knows = False  # the control plane knows of updates
        self._doing: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._last: UpdateProgress | None = None
        engine.inbox.update = self._commanded
        engine.on_open = self._opened

    async def close(self) -> None:
        """Before the pulls and the engine are."""
        for task in (self._doing, self._keeping):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self.restarting:
            await self._farewell()

    # --- what this version is ---------------------------------------------------------------------------------------

    def _opened(self, welcome: Welcome) -> None:
        """There is a session: this version works as far as the control plane."""
        self._knows = welcome.updates
        trial = self._versions.trial() if self._versions is not None else None
        if trial is not None and self._doing is None:
            if self._keeping is None:
                self._keeping = asyncio.create_task(self._prove(trial), name="proving this version")
        elif self._last is not None:
            self._post(self._last)
        elif self._versions is not None and (outcome := self._versions.outcome()) is not None:
            self._say(outcome)

    def _say(self, outcome: Outcome) -> None:
        went = outcome.result == "gone_back"
        error = AgentError(f"{outcome.version or 'That version'} was given up: {outcome.why}.").info() if went else None
        self._tell(outcome.id, outcome.result, error)

    async def _prove(self, trial: Trial) -> None:
        versions = self._versions
        assert versions is not None
        try:
            await asyncio.to_thread(self._read_something)
        except (ModeldistError, OSError) as error:
            log.error("this version cannot read the store", error=str(error))
            versions.give_up(f"it cannot read the store: {error}")
            self._leave()
            return
        versions.came_up()
        log.info("this version came up", version=__version__, rollout=trial.id)
        self._tell(trial.id, "up")
        await asyncio.sleep(trial.keep_after)
        while not self._engine.session.connected:  # noqa: ASYNC110 - it may take days
            await asyncio.sleep(1.0)
        versions.keep()
        log.info("this version is kept", version=__version__, rollout=trial.id)
        self._tell(trial.id, "kept")

    def _read_something(self) -> None:
        """Of what the store has. Raises StoreDamaged, StorageError, OSError."""
        store = self._engine.store
        for stored in store.artifacts():
            for file in stored.artifact.files:
                algorithm, _, wanted = file.digest.partition(":")
                if stored.snapshot is None or algorithm != "sha256" or not 0 < file.size <= TESTED:
                    continue
                found = hashlib.sha256((stored.snapshot / file.path).read_bytes()).hexdigest()
                if found != wanted:
                    raise StoreDamaged(f"{file.path} of {stored.artifact.name} is not what its digest says.")
                return

    # --- becoming another one ---------------------------------------------------------------------------------------

    def _commanded(self, update: Update) -> None:
        doing, last = self._doing, self._last
        if doing is not None and update.back and last is not None and last.state in ("fetching", "installing"):
            doing.cancel()  # it has not gone yet
            self._tell(update.rollout, "gone_back")
        elif doing is not None:
            if last is not None:
                self._post(last)
        elif update.back or not self._known(update.rollout):
            self._doing = asyncio.create_task(self._carry_out(update), name=f"update {update.rollout}")
            self._doing.add_done_callback(self._done)

    def _known(self, rollout: str) -> bool:
        """Whether this node is told again what it did, or is doing; it says so then."""
        if self._last is not None and self._last.rollout == rollout:
            self._post(self._last)
            return True
        if self._versions is None:
            return False
        if (trial := self._versions.trial()) is not None and trial.id == rollout:
            return True  # said when it is proven
        if (outcome := self._versions.outcome()) is not None and outcome.id == rollout:
            self._say(outcome)
            return True
        return False

    def _done(self, task: asyncio.Task[None]) -> None:
        if self._doing is task:
            self._doing = None

    async def _carry_out(self, update: Update) -> None:
        try:
            if update.back:
                await self._back(update)
            else:
                await self._forward(update)
        except Unsupported as error:
            self._tell(update.rollout, "refused", error.info())
        except ModeldistError as error:
            self._tell(update.rollout, "failed", error.info())
        except Exception as error:
            log.exception("an update failed", rollout=update.rollout)
            said = AgentError(f"The update failed: {type(error).__name__}: {error}.", remedy="See the agent's log.")
            self._tell(update.rollout, "failed", said.info())
        finally:
            if not self.restarting:
                self._engine.go_on()

    async def _forward(self, update: Update) -> None:
        from modeldist.upgrade.installing import install
        from modeldist.upgrade.release import admit, read

        versions = self._place()
        if versions.trial() is not None:
            raise AgentError(f"{__version__} is on trial here.", remedy="Ask again when it is kept, or given up.")
        self._tell(update.rollout, "fetching")
        folder = await self._pulls.wait(self._pulls.start(update.release, priority=Priority.SERVING))
        release = await asyncio.to_thread(read, folder, self._keys)
        if release.version == __version__:
            self._tell(update.rollout, "kept")
            return
        admit(release, __version__, time.time())
        self._tell(update.rollout, "installing")
        await asyncio.to_thread(install, release, folder, versions)
        trial = Trial(
            update.rollout, release.version, versions.current, _bounded(update.within), _bounded(update.keep_after)
        )
        await self._make_place(update, lambda: versions.begin(trial))

    async def _back(self, update: Update) -> None:
        versions = self._place()
        outcome, trial = versions.outcome(), versions.trial()
        if (trial is None or trial.id != update.rollout) and (
            outcome is None or (outcome.id, outcome.result) != (update.rollout, "kept")
        ):
            self._tell(update.rollout, "gone_back")  # it never went
            return
        if self._keeping is not None:
            self._keeping.cancel()
        await self._make_place(update, lambda: self._go_back(versions, update.rollout))

    @staticmethod
    def _go_back(versions: Versions, rollout: str) -> None:
        if not versions.go_back(rollout, "the control plane had it go back"):
            raise StorageError("The version before is not there any more.", remedy="Update to a newer one.")

    async def _make_place(self, update: Update, turn: Callable[[], None]) -> None:
        """Finish what must not be lost, write down what goes on, `turn`, and leave. Raises OSError, StorageError."""
        self._tell(update.rollout, "draining")
        await self._engine.drain(_bounded(update.drain))
        write_down(self._engine.store.root, self._pulls.running())
        turn()
        away = CRASHES * (_bounded(update.within) + STARTS)
        self._post(UpdateProgress(update.rollout, "restarting", __version__, away=away))
        log.info("this agent makes place for another version", rollout=update.rollout)
        self._leave()

    def _leave(self) -> None:
        self.restarting = True
        self._stop()

    async def _farewell(self) -> None:
        """Of an agent that restarts: the control plane keeps its place, and hears of no pull that ended."""
        await self._pulls.silence()
        await self._engine.session.said(STARTS)
        await self._engine.leave()

    def _place(self) -> Versions:
        """Raises Unsupported: this node is not updated in this way."""
        if self._versions is None:
            raise Unsupported(
                "This agent was not started by `modeldist launch`: what started it updates it, as Kubernetes does with "
                "an image.",
                remedy="Roll out a new image or package, or start it by `modeldist launch` (docs/upgrade.md).",
            )
        if not self._keys:
            raise Unsupported(
                "This agent takes releases from nobody.",
                remedy="Give it the public key of those who make them: --release-key.",
            )
        return self._versions

    def _tell(self, rollout: str, state: UpdateState, error: ErrorInfo | None = None) -> None:
        self._post(UpdateProgress(rollout, state, __version__, error=error))

    def _post(self, progress: UpdateProgress) -> None:
        self._last = progress
        if self._knows:
            self._engine.session.post(progress)


def _bounded(seconds: float) -> float:
    """What is no number is none, or nobody would ever give the version up."""
    return min(seconds, LONGEST) if seconds > 0.0 else 0.0
