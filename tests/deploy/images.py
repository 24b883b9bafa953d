"""The stages of deploy/images/Dockerfile, as dockerfile-parse reads them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

import modeldist

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "images" / "Dockerfile"


@dataclass
class Stage:
    """`copied`: (sources, from which stage); what is inherited is there, too."""

    name: str
    base: str
    copied: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    exposed: tuple[int, ...] = ()
    volumes: tuple[str, ...] = ()
    version: str = modeldist.__version__


def stages() -> dict[str, Stage]:
    parser = DockerfileParser(fileobj=io.BytesIO(DOCKERFILE.read_bytes()))
    found: dict[str, Stage] = {}
    for each in parser.structure:
        instruction, value = each["instruction"], each["value"]
        if instruction == "FROM":
            base, _, name = value.partition(" AS ")
            stage = found[name] = _after(found[base], name) if base in found else Stage(name, base)
        elif instruction not in ("COMMENT", "ARG"):
            _take(stage, instruction, value)
    return found


def _after(base: Stage, name: str) -> Stage:
    copied = Stage(**vars(base))
    copied.name, copied.base = name, base.name
    copied.environment, copied.copied, copied.ran = dict(base.environment), list(base.copied), list(base.ran)
    return copied


def _take(stage: Stage, instruction: str, value: str) -> None:
    match instruction:
        case "COPY":
            words = value.split()
            source = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
            stage.copied.append((tuple(words[:-1]), source))
        case "RUN":
            stage.ran.append(value)
        case "ENV":
            stage.environment |= dict(re.findall(r"(\w+)=(\S+)", value))
        case "USER":
            stage.user = value
        case "ENTRYPOINT":
            stage.entrypoint, stage.command = tuple(json.loads(value)), ()
        case "CMD":
            stage.command = tuple(json.loads(value))
        case "HEALTHCHECK":
            stage.health = tuple(json.loads(value.partition("CMD")[2]))
        case "EXPOSE":
            stage.exposed = tuple(map(int, value.split()))
        case "VOLUME":
            stage.volumes = (value,)
        case "WORKDIR":
            pass
        case _:
            raise ValueError(f"{instruction} is new to the test")


IMAGES: Mapping[str, Stage] = stages()
