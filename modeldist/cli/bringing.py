"""A model on this machine for a command that works on its files: pulled if it is not here, then its directory."""

from __future__ import annotations

from pathlib import Path

from modeldist.agent.this_node import Node
from modeldist.cli.pulling import error_of, pulled
from modeldist.errors import UsageError

SCHEMES = ("hf://", "modelscope://")


def is_remote(text: str) -> bool:
    """Whether `text` names a model somewhere else, rather than a directory."""
    return "://" in text


def revision_of(reference: str, snapshot: Path) -> str:
    """What a hub calls the revision that was brought: its commit, or a name where it tells no commit."""
    if reference.startswith("modelscope://"):
        from modeldist.origins.modelscope import USUAL_REVISION

        return reference.partition("#")[0].partition("@")[2] or USUAL_REVISION
    return snapshot.name


def brought(reference: str, here: Node, *, quiet: bool) -> Path:
    """The snapshot's directory. ^C keeps what has arrived. Raises what a pull does; UsageError for other schemes."""
    if not reference.startswith(SCHEMES):
        raise UsageError(
            f"{reference} cannot be built from.",
            remedy="Name a directory, hf://org/name@revision or modelscope://org/name@revision.",
        )
    done = pulled(reference, here, quiet=quiet)
    if done.state != "done":
        raise error_of(done)
    return Path(done.path)
