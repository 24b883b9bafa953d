"""`modeldist pull`"""

from __future__ import annotations

import click
import msgspec

from modeldist.agent.progress import PullSnapshot
from modeldist.cli import options
from modeldist.cli.boundary import Command, fail
from modeldist.cli.node import Node
from modeldist.cli.pulling import error_of, pulled
from modeldist.cli.selecting import selecting
from modeldist.cli.terminal import attended, clean, put, put_json, say
from modeldist.cli.views import summary


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@selecting
@click.option("--offline", is_flag=True, help="Only what is here; ask nobody.")
@options.as_json
@options.quiet
@options.verbose
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "store", "hub", "socket", "agent")
def pull(reference: str, offline: bool, as_json: bool, quiet: bool, verbose: bool, here: Node) -> None:
    """Put a model on this machine and print its directory.

    REF is org/model:tag, registry/org/model@sha256:…, hf://org/model@revision, modelscope://org/model@revision,
    https://…, file://… or oci-layout:….

    With --only, --exclude, --kind, --tensor, --rank or --weights only that part of it, in a directory of its own: `ls`,
    `verify` and `rm` call it REF#only=…; a later pull of more fetches what is missing.

    Only the path goes to stdout. ^C stops the pull, also where the agent does it, and keeps what has arrived: pull
    again to resume.

    \b
    Example:
      vllm serve "$(modeldist pull org/model:tag)"
      modeldist pull org/model:tag --only '*.json' --only '*.model'
    """
    done = pulled(reference, here, offline=offline, quiet=quiet)
    finish(done, as_json=as_json, talk=not quiet and (verbose or attended()))


def finish(now: PullSnapshot, *, as_json: bool, talk: bool) -> None:
    """Print the outcome: the path on stdout, or the error, which also decides the exit code."""
    if talk:
        for note in (*now.warnings, *now.notes):
            say(f"modeldist: {clean(note)}")
    if now.state != "done":
        error = error_of(now)
        if as_json:
            put_json(msgspec.structs.replace(now, error=error.info()))
        fail(error, as_json=False)
    if talk:
        say(summary(now))
    if as_json:
        put_json(now)
    else:
        put(now.path)
