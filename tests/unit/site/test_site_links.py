"""The checker of the built site finds what is wrong, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.site.links import check, main

PAGE = '<html><head><link rel="stylesheet" href="style.css"></head><body><h1 id="top-of-it">A</h1>{}</body></html>'


def site(folder: Path, body: str) -> Path:
    (folder / "style.css").write_text("")
    (folder / "below").mkdir()
    (folder / "below" / "b.html").write_text(PAGE.format("").replace("style.css", "../style.css"))
    (folder / "a.html").write_text(PAGE.format(body))
    return folder


@pytest.mark.parametrize(
    "body",
    [
        '<a href="below/b.html">b</a>',
        '<a href="below/b.html#top-of-it">b</a>',
        '<a href="#top-of-it">here</a>',
        '<a href="#">here</a>',
        '<a href="mailto:nobody@example.com">mail</a>',
        '<img src="data:image/png;base64,AAAA">',
    ],
)
def test_right(body: str, tmp_path: Path) -> None:
    found = check(site(tmp_path, body))
    assert (found.pages, found.links, found.wrong) == (2, 3, [])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('<a href="c.html">c</a>', "no such page"),
        ('<a href="below/b.html#nowhere">b</a>', "no such anchor"),
        ('<a href="#nowhere">b</a>', "no such anchor"),
        ('<img src="picture.png">', "no such page"),
        ('<a href="http://example.com">plain</a>', "no https address"),
        ('<a href="https:///nowhere">nobody</a>', "no https address"),
        ('<script src="https://cdn.example.com/x.js"></script>', "loads nothing from elsewhere"),
        ('<img src="https://example.com/x.png">', "loads nothing from elsewhere"),
    ],
)
def test_wrong(body: str, says: str, tmp_path: Path) -> None:
    (problem,) = check(site(tmp_path, body)).wrong
    assert problem.startswith("a.html: ")
    assert says in problem


def test_what_leads_out_is_listed_and_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(site(tmp_path, '<a href="https://example.com/a#b">there</a>')), "--list"]) == 0
    said = capsys.readouterr().out
    assert "https://example.com/a#b  (a.html)" in said
    assert "links: 3 on 2 pages, 0 wrong; 1 lead out of the site" in said


def test_a_site_without_pages_is_wrong(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1
