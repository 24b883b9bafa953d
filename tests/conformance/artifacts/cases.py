"""What is expected of one written artifact, in strict and in lenient mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelpack.errors import ModelPackError
from modelpack.tarsource import TarLimits
from tests.servers.artifacts import Written

Refusal = type[ModelPackError]


@dataclass(frozen=True)
class Case:
    """`files`: what it becomes on disk, path -> content, empty where both modes refuse it. `strict` and `lenient`: the
    error that refuses it, if any. `codes`: the deviations that lenient mode tells. `wire`: the error when it comes from
    a registry, where that is another one because the client sees it first. `says`: words of each refusal."""

    artifact: Written
    why: str
    files: Mapping[str, bytes]
    strict: Refusal | None = None
    lenient: Refusal | None = None
    codes: tuple[str, ...] = ()
    wire: Refusal | None = None
    says: tuple[str, ...] = ()
    limits: TarLimits = TarLimits()

    @property
    def name(self) -> str:
        return self.artifact.name


def refused(
    artifact: Written, why: str, error: Refusal, *says: str, wire: Refusal | None = None, **more: TarLimits
) -> Case:
    """In either mode."""
    return Case(artifact, why, {}, error, error, wire=wire, says=says, **more)
