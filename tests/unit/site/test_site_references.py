"""The references that are made from code have all of it."""

from __future__ import annotations

import re
import shutil
import subprocess

import click
import pytest

from deploy.site.command_pages import command_pages
from deploy.site.commands import panels
from deploy.site.exit_codes import causes, exit_codes, exit_codes_page
from deploy.site.manual_page import manual_page
from deploy.site.repository import ROOT
from deploy.site.rest_page import openapi, rest_page
from deploy.site.settings import settings_of, settings_page, variables
from modeldist import errors
from modeldist.agent.settings import AgentSettings
from modeldist.cli.main import program
from modeldist.control.settings import ServerSettings

PAGES = "\n".join(text for _, _, text in command_pages())


def test_every_command_and_option_is_in_the_pages_and_the_manual() -> None:
    manual = manual_page("2026-12-31").replace("\\-", "-").replace("\\[u2026]", "…")
    names = [each for panel in panels() for top in panel.commands for each in top.all()]
    assert {command.name.split()[1] for command in names} == set(program.list_commands(click.Context(program)))
    for command in names:
        assert f"## {command.name}\n" in PAGES
        assert f'.SS "{command.name}' in manual
        for option in command.options:
            assert f"| `{option.names.replace('|', chr(92) + '|')}` |" in PAGES
            assert option.names.split(",")[0].split()[0] in manual


def test_the_manual_page_that_is_installed_is_that_of_the_program() -> None:
    _, *installed = (ROOT / "deploy" / "package" / "modeldist.1").read_text().splitlines()
    title, *made = manual_page("2026-12-31").splitlines()
    assert title.startswith(".TH ")
    assert installed == made, "run: make manual"


def test_what_is_no_markup_is_written_as_python_markdown_takes_it() -> None:
    """Which shows a backslash before `<`, where CommonMark does not."""
    assert "\\<" not in PAGES and "\\>" not in PAGES
    assert "_&lt;NAME&gt;" in PAGES
    assert "1&lt;=x&lt;=100" in PAGES


def test_examples_keep_their_lines() -> None:
    assert '```text\nvllm serve "$(modeldist pull org/model:tag)"\nmodeldist pull' in PAGES


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_manual_page_has_no_fault() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-rLL=100n"],
        input=manual_page("2026-12-31"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "…" in done.stdout


def test_every_error_has_its_row() -> None:
    page = exit_codes_page()
    for cause in causes():
        assert f"| {cause.exit_code} | `{cause.code}` | `{cause.__name__}` | " in page
    assert errors.NotFound in set(causes())
    codes = dict(exit_codes())
    assert {0, 4, 10, 31, 32, 33, 130} <= codes.keys()
    assert all(codes.values())


@pytest.mark.parametrize("kind", [AgentSettings, ServerSettings])
def test_every_setting_has_its_row(kind: type[AgentSettings | ServerSettings]) -> None:
    settings = {each.variable: each for each in settings_of(kind)}
    prefix = kind.model_config["env_prefix"]
    assert set(settings) == {f"{prefix}{name.upper()}" for name in kind.model_fields}
    assert all(f"| `{name}` |" in settings_page() for name in settings)
    assert settings[f"{prefix}ORIGIN_STREAMS"].kind == "number"
    assert settings[f"{prefix}LOG_LEVEL"].default == "info"


def test_comments_of_settings_are_their_words() -> None:
    settings = {each.variable: each for each in settings_of(AgentSettings)}
    assert settings["MODELDIST_AGENT_GATEWAY"].says.startswith("host:port of the drop-in endpoints")
    assert settings["MODELDIST_AGENT_UPLOAD_RATE"].says == "bytes/s"


def test_every_variable_that_the_code_reads_is_listed() -> None:
    """Those of agents and servers are settings; the rest is read by name somewhere."""
    read = {
        name
        for path in (ROOT / "modeldist").rglob("*.py")
        for name in re.findall(r"[\"'](MODELDIST_[A-Z_]+)[\"']", path.read_text())
        if not name.startswith(("MODELDIST_AGENT_", "MODELDIST_SERVER_"))
    }
    listed = {variable.name for variable in variables()}
    assert read - listed == set()


def test_every_route_is_in_the_reference() -> None:
    document = openapi()
    page = rest_page(document)
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in page
    for name in document["components"]["schemas"]:
        assert f"{{ #data-{name} }}" in page
    anchors = set(re.findall(r"\{ #([\w-]+) \}", page))
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= anchors
