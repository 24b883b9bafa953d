"""What is fuzzed: one parser of `modelpack`, or a protocol, a file or a listener of `modeldist`, with the property that
must hold for any bytes.

A target is a file of `tests/fuzz/targets` with a `TARGET`. Its `check` returns for what was read or refused in order,
and raises for a finding: an exception that is not the room's own error, a refusal that says nothing or too much, a
value that does not survive being written and read again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """`seeds` makes the inputs to begin with, at least one of them accepted; `words` are bytes that inputs of this kind
    are made of; `longest` in bytes. `beside`: most of it runs in threads beside the one that checks, or is not
    ours; to follow branches there would bring little, and takes most of the time."""

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    longest: int = 4096
    beside: bool = False

    def corpus(self) -> list[bytes]:
        """Seeds, and the inputs that found something once."""
        found = sorted((HERE / "regressions" / self.name).glob("*"))
        return [*self.seeds(), *(path.read_bytes() for path in found)]


def json_words(listed: str, *texts: str) -> tuple[bytes, ...]:
    """The words of `listed`, and `texts`, as JSON writes them, and what JSON is made of."""
    signs = b'null [] {} [ { ] } : , true 2.0 -1 1e999 "" "\\ud800" "\\u001b" \xff'.split()
    return (*(json.dumps(text).encode() for text in (*listed.split(), *texts)), *signs, b"[" * 100)


def target_names() -> list[str]:
    """All targets, by name."""
    return sorted(path.stem for path in (HERE / "targets").glob("*.py"))


def is_beside(name: str) -> bool:
    """Said by the target's text: to import it would be too early for coverage."""
    file = HERE / "targets" / f"{name}.py"
    return file.exists() and "beside=True" in file.read_text()


def load_target(name: str) -> Target:
    """A target of `tests/fuzz/targets`, or of any module given as `module:attribute`."""
    module, _, attribute = name.partition(":")
    if not attribute:
        module, attribute = f"tests.fuzz.targets.{name}", "TARGET"
    target = getattr(import_module(module), attribute)
    assert isinstance(target, Target)
    return target
