"""`modeldist verify`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options, units
from modeldist.cli.boundary import Command, fail
from modeldist.cli.byte_bar import bar
from modeldist.cli.terminal import attended, clean, put, put_json
from modeldist.errors import StoreDamaged

if TYPE_CHECKING:
    from modeldist.agent.progress import PullSnapshot
    from modeldist.agent.store import Audit, Damage, InPart

_FLAWS = {
    "missing": "is missing",
    "size": "has another size than its manifest says",
    "content": "is damaged",
    "unreadable": "cannot be read from the disk",
}


@click.command(cls=Command)
@click.argument("references", metavar="[REF]…", nargs=-1)
@click.option("--remove", is_flag=True, help="Remove what is damaged, so that the next pull brings it again.")
@click.option("--repair", is_flag=True, help="Remove what is damaged, and bring it again at once.")
@options.as_json
@options.quiet
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "store", "hub", "socket", "agent")
def verify(references: tuple[str, ...], remove: bool, repair: bool, as_json: bool, quiet: bool, here: Node) -> None:
    """Read models again and compare every file with its digest.

    All models on this machine, without REF. Of files that are here in part, the pieces that were selected. Exit code 20
    tells that something was damaged, also where --remove has removed it, but not where --repair has brought all of it
    again, from peers or the origin. Other models and programs keep what they use that is whole.

    An agent does the same in the background (`modeldist agent --scrub-every`).

    \b
    Example:
      modeldist verify --repair org/model:tag
    """
    from modeldist.cli.catalogue import audit

    with bar(None, shown=attended() and not quiet) as advance:
        found = audit(here, references, remove=remove or repair, on_bytes=advance)
    removed = (remove or repair) and bool(found.damages)
    ended = _brought_again(here, found, repair=repair, quiet=quiet) if removed else []
    whole = repair and all(pull.state == "done" for pull in ended)
    error = _damaged(found, removed=removed, ended=ended) if found.damages and not whole else None
    if as_json:
        put_json(
            {
                "files": found.files,
                "contents": found.contents,
                "bytes": found.bytes,
                "damaged": found.damages,
                "parts": found.parts,
                "removed": removed,
                "repaired": [pull.reference for pull in ended if pull.state == "done"],
                "error": error.info() if error else None,
            }
        )
    else:
        for damage in found.damages:
            put(clean(_sentence(damage, removed=removed)))
        for part in found.parts:
            put(clean(_in_part(part)))
    if error is not None:
        fail(error, as_json=False)
    for pull in ended if not as_json else ():
        put(clean(f"{pull.reference} is whole again: {_came(pull)}."))
    if not as_json and not found.damages:
        put(f"{units.counted(found.contents, 'file')}, {units.size(found.bytes)}: all as their digests say.")


def _brought_again(here: Node, found: Audit, *, repair: bool, quiet: bool) -> list[PullSnapshot]:
    from modeldist.cli.repairing import repaired, tell_agent

    if repair:
        return repaired(here, found, quiet=quiet)
    tell_agent(here)
    return []


def _came(pull: PullSnapshot) -> str:
    return f"{units.size(pull.peers)} from peers, {units.size(pull.origin)} from the origin"


def _sentence(damage: Damage, *, removed: bool) -> str:
    name = f"{damage.file} of {damage.references[0]}" if damage.references else damage.digest
    pull = f"`modeldist pull {damage.references[0]}`" if damage.references else ""
    done = "It was removed" if removed else "Remove it with `modeldist verify --remove`"
    again = f"{pull} brings it again" if pull else "no model uses it"
    return f"{name} {_FLAWS[damage.flaw]} ({damage.path}). {done}; {again}."


def _in_part(part: InPart) -> str:
    name = f"{part.file} of {part.references[0]}"
    return f"{name}: {units.size(part.bytes)} of {units.size(part.size)} are here, by selection ({part.path})."


def _damaged(found: Audit, *, removed: bool, ended: list[PullSnapshot]) -> StoreDamaged:
    models = sorted({reference for damage in found.damages for reference in damage.references[:1]})
    again = f"Pull again: {', '.join(models)}." if models else ""
    wrong = len({damage.digest for damage in found.damages})  # each may have several names
    if failed := next((pull for pull in ended if pull.state != "done"), None):
        why = failed.error.message if failed.error else "It was stopped."
        again = f"{failed.reference} could not be brought again: {why} {again}"
    return StoreDamaged(
        f"{wrong} of {units.counted(found.contents, 'file')} {'is' if wrong == 1 else 'are'} not as the digest says.",
        remedy=again if removed else f"Remove what is damaged with --remove. {again}".strip(),
    )
