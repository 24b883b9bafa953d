"""Every snippet of every document is run, or says who runs it, or says why nobody does and is read at least."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation import (
    page,
    site_cluster_pages,
    site_deployment,
    site_engines,
    site_pages,
    site_rdma,
    test_pages,
    test_rest_pages,
)
from tests.documentation.reading import problems
from tests.package import package_installed
from tests.unit.modelpack import test_chunk_table_document

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SHOWN = {"text"}  # output, and words
LANGUAGES = {"bash", "console", "json", "python", "sh", "toml", "yaml"}
TYPED = {"console", "python"}  # what `page.run` runs of a page

# Who runs what has no mark: page -> the languages that are run.
RUN: dict[Path, set[str]] = {
    **dict.fromkeys(test_pages.PAGES, TYPED),
    **dict.fromkeys(site_pages.PAGES, TYPED),
    **dict.fromkeys(site_engines.PAGES, TYPED),
    **dict.fromkeys(site_cluster_pages.PAGES, TYPED),
    **dict.fromkeys(site_deployment.PAGES, TYPED),
    **dict.fromkeys(site_rdma.PAGES, TYPED),
    **test_rest_pages.PAGES,
    package_installed.PAGE: {"console"},
    **{test_chunk_table_document.DOCS / name: {"python"} for name in test_chunk_table_document.FACTS},
}


def snippets() -> Iterator[tuple[Path, page.Block]]:
    for path in DOCUMENTS:
        for block in page.blocks(path.read_text()):
            if block.language not in SHOWN:
                yield path, block


SNIPPETS = [pytest.param(path, block, id=f"{path.relative_to(ROOT)}:{block.line}") for path, block in snippets()]


@pytest.mark.parametrize(("path", "block"), SNIPPETS)
def test_it_is_run_or_says_why_not(path: Path, block: page.Block) -> None:
    where = f"{path.relative_to(ROOT)}:{block.line}"
    assert block.language in LANGUAGES, f"{where}: nobody knows how to run {block.language!r}; output is ```text"
    if block.mark is None:
        assert block.language in RUN.get(path, set()), (
            f"{where} is run by nobody: add the page to tests/documentation/site_pages.py, or write above it why it "
            "cannot be run (deploy/site/marks.py)"
        )
        return
    match block.mark.kind:
        case "not run":
            assert len(block.mark.says.split()) > 2, f"{where}: say why"
            assert list(problems(block)) == [], where
        case "run by":
            assert runs(block.mark.says, path), f"{where}: {block.mark.says} does not run it"
        case "file":
            assert path in RUN, f"{where}: nobody who reads the file is run"
            assert list(problems(block)) == [], where


def runs(named: str, path: Path) -> bool:
    """Whether a test, or a target of make, is there and speaks of the page."""
    if named.startswith("make "):
        return re.search(rf"^{named.removeprefix('make ')}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None
    file = ROOT / named
    return file.is_file() and path.name in file.read_text()


def test_ci_runs_what_the_readme_begins_with() -> None:
    text = page.run_by((ROOT / "README.md").read_text(), ".ci/run")
    typed = {example.code.split("#")[0].strip() for example in page.examples(text)}
    script = (ROOT / ".ci" / "run").read_text()
    suites = re.findall(r"^for suite in (.+); do$", script, re.MULTILINE)[0].split()
    assert typed == {"make demo", "make test"}
    assert "\nmake test " in script and "demo" in suites


def test_most_are_run() -> None:
    """A page that says it cannot be run is the exception."""
    found = [block for _, block in snippets()]
    left_out = [block for block in found if block.marked("not run")]
    assert len(found) > 120
    assert len(left_out) <= len(found) / 100


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```console\n$ echo 'a\n```", "unexpected EOF"),
        ("```console\nnothing is typed here\n```", "no command"),
        ("```python\nimport modeldist.nowhere\n```", "nowhere"),
        ("```python\nfrom modeldist.ray import nothing\n```", "modeldist.ray has no nothing"),
        ("```python\nx = \n```", "SyntaxError"),
        ("```yaml\na: [\n```", "ParserError"),
        ("```toml\na = \n```", "TOMLDecodeError"),
        ("```json\n{'a': 1}\n```", "JSONDecodeError"),
    ],
)
def test_a_snippet_that_is_only_read_has_to_be_right(text: str, says: str) -> None:
    (block,) = page.blocks(text)
    assert says in " ".join(read(block))


def read(block: page.Block) -> list[str]:
    try:
        return list(problems(block))
    except ImportError as error:
        return [str(error)]
