"""`modeldist lint`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from modeldist import __version__
from modeldist.agent.this_node import Node
from modeldist.cli import options
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import clean, put, put_json

if TYPE_CHECKING:
    from modelpack.deviations import Severity

_CODES: dict[Severity, int] = {"error": 31, "warning": 32, "note": 33}
_SEVERITIES = tuple(_CODES)


@click.command(cls=Command)
@click.argument("target", metavar="REF|DIR|LAYOUT[:TAG]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif"]),
    default="text",
    show_default=True,
    help="How to print what was found.",
)
@click.option(
    "--fail-on",
    type=click.Choice([*_SEVERITIES, "never"]),
    default="error",
    show_default=True,
    help="The least severity that gives an exit code.",
)
@click.option("--digests", is_flag=True, help="Of a layout, also compare every blob with its digest.")
@options.as_json
@options.node_options("registry", "plain_http", "hf_endpoint")
def lint(target: str, form: str, fail_on: str, digests: bool, as_json: bool, here: Node) -> None:
    """Look for what is wrong with a model, for its publisher.

    A model in a registry or hub (a few kilobytes are read, never its weights), in an OCI layout, or a directory before
    it is built. Every rule has an id, which docs/modelpack/lint-rules.md explains.

    Exit code 0 when nothing was found that --fail-on counts; 31 for errors, 32 for warnings (with --fail-on warning),
    33 for notes (with --fail-on note). What cannot be read at all has the exit codes of `inspect`.

    \b
    Example:
      modeldist lint ./my-model --fail-on warning
      modeldist lint registry.example/org/model:v1 --format sarif > lint.sarif
    """
    from modeldist.cli.linting import lines, look
    from modelpack.lint import sarif

    reports = look(target, here, digests=digests)
    if form == "sarif":
        sys.stdout.buffer.write(sarif.encode(reports, tool="modeldist lint", version=__version__) + b"\n")
        sys.stdout.buffer.flush()
    elif form == "json" or as_json:
        put_json({"models": [report.to_dict() for report in reports]})
    else:
        for line in lines(reports):
            put(clean(line))
    counted = _SEVERITIES[: [*_SEVERITIES, "never"].index(fail_on) + 1] if fail_on != "never" else ()
    for severity in counted:
        if any(report.counts[severity] for report in reports):
            raise SystemExit(_CODES[severity])
