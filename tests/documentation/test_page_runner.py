"""The runner of pages itself: what it runs, what it compares, what it refuses."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from tests.documentation import page

PAGE = """# A page
```python
kept = 41
```
Words.
```python
print(kept + 1)
print("localhost:5000")
```
```text
42
localhost:5000
```
```json
{"not": "run"}
```
```console
$ echo one; echo two
one
…
$ cat <<EOF > file
> hello
> EOF
$ cat file
h…o
```
"""


def run(text: str, room: Path) -> int:
    return page.run(room / "page.md", page.examples(text), room, {"localhost:5000": "localhost:7"}, os.environ)


def test_a_page_is_run_from_top_to_bottom(tmp_path: Path) -> None:
    assert run(PAGE, tmp_path) == 5
    assert (tmp_path / "file").read_text() == "hello\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```python\nprint(1)\n```\n", "page.md:2 prints\n1"),
        ("```python\nprint(1)\n```\n```text\n2\n```\n", "page.md:2 prints\n1"),
        ("```python\nx = 1\n```\n```text\n1\n```\n", "page.md:2 prints"),
        ("```python\nprint(1)\n```\nSo:\n```text\n1\n```\n", "page.md:2 prints"),
        ("```console\n$ echo a\nb\n```\n", "page.md:2 prints\na"),
        ("\n\n```console\n$ true\n$ false\n```\n", "page.md:5: false ended with status 1"),
    ],
)
def test_what_is_not_as_shown(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(page.Differs) as caught:
        run(text, tmp_path)
    assert str(caught.value).startswith(says)


def test_what_stays_runs_beside_the_lines_that_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the page ends."""
    monkeypatch.setitem(page.STAYING, "./waits here", 'grep -q ready "$log"')
    (tmp_path / "waits").write_text('#!/bin/sh\necho $$ > process; echo ready; exec sleep 300 # "$@"\n')
    (tmp_path / "waits").chmod(0o755)
    run("```console\n$ ./waits here   # as a reader would\n$ kill -0 $(cat process); echo $?\n0\n```\n", tmp_path)
    assert not Path("/proc", (tmp_path / "process").read_text().strip()).exists()


def test_what_should_stay_and_ends_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(page.STAYING, "echo no,", "false")
    with pytest.raises(RuntimeError, match=r"echo no, not now is not ready; it printed\nno, not now"):
        run("```console\n$ echo no, not now\n```\n", tmp_path)


def test_sections_of_a_page() -> None:
    text = "# A page\n\n## One\n1\n## Two\n2\n"
    assert page.only(text, "Two").splitlines() == ["", "", "", "", "## Two", "2"]
    assert page.but(text, "One").splitlines() == ["# A page", "", "", "", "## Two", "2"]


def test_an_error_is_shown_at_its_line_of_the_page(tmp_path: Path) -> None:
    with pytest.raises(KeyError) as caught:
        run("# A page\n\n```python\nx = {}\nx['y']\n```\n", tmp_path)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (Path(last.filename).name, last.lineno) == ("page.md", 5)


@pytest.mark.parametrize(
    ("printed", "shown", "alike"),
    [
        ("a\nb\n", "a\nb", True),
        ("a \nb\n\n", "a\nb\n", True),
        ("abc\n", "a…\n", True),
        ("abc\nd\n", "a…\n", False),
        ("a\nb\nc\nd\n", "a\n…\nd\n", True),
        ("a\nd\n", "a\n…\nd\n", True),
        ("a\nb\n", "a\n…\nd\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_output_with_something_left_out(printed: str, shown: str, alike: bool) -> None:
    assert page.matches(printed, shown) is alike
