"""Findings of an audit of a system like this one, asked of ours: SECURITY.md has them all, with the tests of each."""

from __future__ import annotations

import ast
import hmac
import logging
import os
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from pydantic import BaseModel

from modeldist.agent.daemon import say_who_else_writes
from modeldist.agent.local_records import PlanRequest, StartRequest
from modeldist.agent.settings import AgentSettings
from modeldist.control.api import requests
from modeldist.control.bootstrap import prepare_state_dir
from modeldist.foreign_hands import others_who_may_write
from modeldist.session import messages
from modeldist.transfer import frames
from tests.servers.control_plane import served_control_plane
from tests.servers.memory_origin import MemoryOrigin

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "SECURITY.md").read_text()


def test_every_finding_has_an_answer() -> None:
    section = PAGE.partition("## Dragonfly's audit")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| (\d+) \| (.+?) \| (.+?) \| (.*?) ?\|$", section)
    assert [int(number) for number, *_ in rows] == list(range(1, 20))
    untested = {int(number) for number, _, _, tests in rows if "tests/" not in tests}
    assert untested == {10, 16}, "those are for linters; any other has a test"


def test_the_tests_that_the_page_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 60
    for path, name in named:
        defined = {
            node.name
            for node in ast.walk(ast.parse((REPOSITORY / path).read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert not name or name in defined, f"{path} has no {name}"


# --- 12: peers that read and write any file ---

PLACES = re.compile(
    r"(^|_)(path|file|folder|dir|directory|output|destination|target|overwrite|mount|socket|command)s?$"
)
A_MODELS_OWN = {("Artifact", "files"), ("ArtifactFile", "path")}
"""Relative names, checked as a whole set before anything is written (`modelpack/names.py`)."""


def fields(kind: Any, seen: set[Any]) -> Iterator[tuple[str, str]]:
    """(structure, field) of everything that a message of this type may contain."""
    if isinstance(kind, types.UnionType) or get_args(kind):
        for part in get_args(kind):
            yield from fields(part, seen)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct | BaseModel) and kind not in seen:
        seen.add(kind)
        for name, hint in get_type_hints(kind).items():
            if not name.startswith(("_", "model_config")):
                yield kind.__name__, name
                yield from fields(hint, seen)


def test_nothing_that_reaches_a_node_names_a_place() -> None:
    """Neither a file nor a program: not from peers, not from the control plane, not from who asks either of them."""
    bodies = [found for found in vars(requests).values() if isinstance(found, type) and issubclass(found, BaseModel)]
    said = {
        found
        for kind in (messages.FromControl, frames.Control, StartRequest, PlanRequest, *bodies)
        for found in fields(kind, set())
    }
    assert {
        ("StartPull", "reference"),
        ("ArtifactFile", "path"),
        ("Request", "start"),
        ("PullRequest", "nodes"),
    } <= said
    assert {found for found in said if PLACES.search(found[1])} == A_MODELS_OWN


# --- 8: the time that a comparison takes ---


async def test_secrets_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong secret and a token that nobody has take the same way, to the same comparison."""
    compared: list[tuple[int, int]] = []
    original = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return original(one, other)

    async with served_control_plane(tmp_path / "state", MemoryOrigin()) as control:
        _, known, _ = control.admin_token.split("_")
        monkeypatch.setattr(hmac, "compare_digest", noted)
        for token in (f"md_{known}_{'0' * 64}", f"md_{'0' * 16}_{'0' * 64}"):
            assert await control.plane.tokens.verify(token) is None
        assert compared == [(32, 32), (32, 32)]


# --- 5: permissions of directories that are there already ---


@pytest.mark.parametrize("kind", ["state", "store", "hub"])
def test_a_directory_that_others_may_write_to_is_said(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(place: Path) -> None:
        if kind == "state":
            prepare_state_dir(place)
        else:
            say_who_else_writes(AgentSettings(**{"store": tmp_path, "hub": tmp_path} | {kind: place}))

    for mode, said in ((0o777, True), (0o1777, False), (0o700, False), (0o755, False)):
        caplog.clear()
        place = tmp_path / f"{mode:o}"
        place.mkdir()
        place.chmod(mode)
        with caplog.at_level(logging.WARNING):
            prepare(place)
        assert (str(place) in caplog.text + capsys.readouterr().out) is said, oct(mode)


def test_so_is_one_of_another_user(tmp_path: Path) -> None:
    assert others_who_may_write(tmp_path) == ""
    if os.geteuid() == 0:
        os.chown(tmp_path, 54321, -1)
        assert others_who_may_write(tmp_path) == "the user 54321, whose it is,"


# --- CVE-2023-27584: a key that is the same everywhere ---


async def test_no_two_control_planes_have_a_secret_in_common(tmp_path: Path) -> None:
    secrets: list[str] = []
    for name in ("one", "two"):
        async with served_control_plane(tmp_path / name, MemoryOrigin()) as control:
            secrets += [control.admin_token, control.agent_token, control.plane.cluster]
            async with control.plane.database.engine.connect() as connection:
                rows = (await connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'capability_key'")).all()
            secrets += [bytes(value).hex() for (value,) in rows]
    assert len(secrets) == len(set(secrets)) == 8
