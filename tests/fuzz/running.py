"""Running a target: by coverage (atheris), by mutation, or over given inputs, with limits of time and memory."""

from __future__ import annotations

import hashlib
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.fuzz import mutation
from tests.fuzz.target import Target, load_target


@dataclass(frozen=True)
class Limits:
    """`seconds` of the run, `timeout` seconds of one input, `memory` in MiB of the process."""

    seconds: float
    timeout: int
    memory: int
    seed: int


class TooLong(BaseException):
    """Not to be caught by what is tested."""


def by_mutation(target: Target, limits: Limits, findings: Path) -> int:
    with _limited(limits):
        try:
            count = mutation.run(target, limits.seconds, limits.seed, _Guard(target, limits, findings))
        except Found as found:
            return _report(found)
    print(f"fuzz {target.name}: {count} inputs in about {limits.seconds:g} s, nothing found")
    return 0


def replay(target: Target, inputs: list[bytes], limits: Limits, findings: Path) -> int:
    with _limited(limits):
        try:
            guard = _Guard(target, limits, findings)
            for data in inputs:
                guard(data)
        except Found as found:
            return _report(found)
    print(f"fuzz {target.name}: {len(inputs)} inputs, nothing found")
    return 0


def by_coverage(name: str, limits: Limits, findings: Path) -> NoReturn:
    """libFuzzer ends the process itself, with a status that is not 0 after a finding."""
    import atheris

    with atheris.instrument_imports(include=["modelpack", "modeldist"]):
        target = load_target(name)
        corpus = target.corpus()
        for data in corpus:  # modules that are imported on first use are instrumented, too
            target.check(data)
    kept = findings / "corpus"
    kept.mkdir(parents=True, exist_ok=True)
    for data in corpus:
        (kept / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data[: target.longest])
    words = findings / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    atheris.Setup(
        [
            sys.argv[0],
            str(kept),
            f"-max_total_time={max(1, round(limits.seconds))}",
            f"-timeout={limits.timeout}",
            f"-rss_limit_mb={limits.memory}",
            f"-max_len={target.longest}",
            f"-seed={limits.seed + 1}",
            f"-dict={words}",
            f"-artifact_prefix={findings}/",
            "-verbosity=0",
            "-print_final_stats=1",
        ],
        target.check,
    )
    atheris.Fuzz()
    raise AssertionError("atheris does not come back")


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


class Found(Exception):
    """An input that breaks the property: where it was written, and the traceback."""


class _Guard:
    """Runs one input within the limits. Raises Found."""

    def __init__(self, target: Target, limits: Limits, findings: Path) -> None:
        self._target = target
        self._limits = limits
        self._findings = findings

    def __call__(self, data: bytes) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._limits.timeout)
        try:
            self._target.check(data)
        except (Exception, TooLong) as problem:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._findings.mkdir(parents=True, exist_ok=True)
            kept = self._findings / f"found-{hashlib.sha256(data).hexdigest()[:16]}"
            kept.write_bytes(data)
            raise Found(f"{self._target.name}: {kept}\n{''.join(traceback.format_exception(problem))}") from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _report(found: Found) -> int:
    print(f"fuzz {found}", file=sys.stderr)
    return 1


@contextmanager
def _limited(limits: Limits) -> Iterator[None]:
    """The address space may grow by the memory allowed: a MemoryError is a finding as any other exception."""

    def too_long(number: int, frame: FrameType | None) -> NoReturn:
        raise TooLong(f"one input took more than {limits.timeout} s")

    before = signal.signal(signal.SIGALRM, too_long)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + limits.memory * 1024 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)
