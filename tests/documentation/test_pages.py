"""Every page of the library's documentation does what it says, against real registries."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest

import modelpack
from modelpack import errors
from tests.documentation import page
from tests.documentation.town import free_addresses
from tests.servers.registry import Registry

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "modelpack"
PAGES = sorted(FOLDER.glob("*.md"))
INDEX = FOLDER / "index.md"
ADDRESSES = ("localhost:5000", "localhost:5001")
STARTS = "$ docker-registry serve"  # of a page that starts its registry itself


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a reader's shell: the programs of this environment, and a home of their own."""
    programs = str(Path(sys.executable).parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELDIST_", "HF_", "DOCKER_"))}
    home = tmp_path / "home"
    home.mkdir()
    return kept | {
        "HOME": str(home),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "MODELDIST_STORE": str(home / "store"),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }


def run(path: Path, text: str, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.chdir(room)
    for name in ("HOME", "MODELDIST_STORE"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    with ExitStack() as registries:
        places = {}
        for number, address in enumerate(ADDRESSES):
            if address in text and STARTS in text:
                places[address] = free_addresses(1)[0].replace("127.0.0.1", "localhost")
            elif address in text:
                running = registries.enter_context(Registry(tmp_path / f"registry-{number}", delete=True))
                places[address] = f"localhost:{running.port}"
        return page.run(path, page.examples(text), room, places, environment)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page(path: Path, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = run(path, path.read_text(), environment, tmp_path, monkeypatch)
    assert examples > 0 or path.name == "lint-rules.md"  # a table


def test_every_page_is_found_from_the_index() -> None:
    linked = set(re.findall(r"\]\(([a-z-]+\.md)", INDEX.read_text()))
    assert linked == {path.name for path in PAGES} - {INDEX.name}


def links() -> Iterator[tuple[Path, str]]:
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#:\s]+)", path.read_text()):
            yield path, target


@pytest.mark.parametrize(("path", "target"), list(links()))
def test_links_lead_somewhere(path: Path, target: str) -> None:
    assert (path.parent / target).exists()


def public_names() -> Iterator[str]:
    for module in ("modelpack", "modelpack.oci", "modelpack.lint"):
        yield from import_module(module).__all__


def test_every_public_name_is_written_of() -> None:
    written = set(re.findall(r"\w+", "\n".join(path.read_text() for path in PAGES)))
    assert set(public_names()) - written == set()
    for name in public_names():  # and exists
        assert any(hasattr(import_module(module), name) for module in ("modelpack", "modelpack.oci", "modelpack.lint"))


def test_every_error_is_written_of() -> None:
    written = (FOLDER / "errors.md").read_text()
    causes = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert "ModelPackError" in causes
    assert [name for name in causes if f"`{name}`" not in written] == []
    assert modelpack.ModelPackError is errors.ModelPackError
