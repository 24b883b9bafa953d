"""`modeldist optimize`"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modeldist.agent.this_node import Node
from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import clean, put, put_json, say
from modeldist.errors import Unsupported, UsageError

if TYPE_CHECKING:
    from modeldist.bench.cold_load import Loading

_PATHS = ("/", "./", "../", "~/")


@click.command(cls=Command)
@click.argument("source", metavar="DIR|REF")
@click.option("--into", required=True, metavar="DIR|REF", help="A new directory, or what to call it for `push`.")
@click.option("--huge-pages", is_flag=True, help="Begin the tensors at 2 MiB instead of 4 KiB.")
@click.option("--no-measure", is_flag=True, help="Do not load both from a cold page cache.")
@click.option("--runs", type=click.IntRange(1, 20), default=3, show_default=True, help="Of the measurement.")
@options.as_json
@options.quiet
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "store", "hub", "socket", "agent")
def optimize(
    source: str,
    into: str,
    huge_pages: bool,
    no_measure: bool,
    runs: int,
    as_json: bool,
    quiet: bool,
    here: Node,
) -> None:
    """Lay a model's weights out for loading, as another model.

    Tensors of safetensors files come in the order in which loaders ask for them and begin with pages of memory; they
    stay the same tensors. Files that are so already, and all others, are taken as they are, and share their bytes and
    digests with the original. Then both are loaded from a cold page cache, and what that took is printed, with what it
    waited for.

    DIR begins with / or ./, or is there already. What is called REF waits for `modeldist push REF`.

    \b
    Example:
      modeldist optimize org/model:v1 --into org/model:v1-aligned
    """
    from modelpack.rearranging import HUGE_PAGE, PAGE

    before = _directory(source, here, quiet=quiet)
    align = HUGE_PAGE if huge_pages else PAGE
    found: dict[str, object]
    if into.startswith(_PATHS) or Path(into).exists():
        folder = Path(into).expanduser().absolute()
        found = {"path": str(folder), **_write(before, folder, align)}
        loadings = None if no_measure else _measured(before, folder, runs)
        name = str(folder)
    else:
        from modeldist.cli.layouts import layout_path, reference
        from modelpack.build import build
        from modelpack.layout import OciLayout

        ref = reference(into, here.registry)
        layout = OciLayout.create(layout_path(None, here.store))
        with tempfile.TemporaryDirectory(dir=layout.path.parent, prefix="optimize-") as room:
            folder = Path(room) / "model"
            found = _write(before, folder, align)
            built = build(folder, layout, ref=str(ref))
            loadings = None if no_measure else _measured(before, folder, runs)
        name = f"{ref.name}@{built.digest}"
        found |= {"reference": name, "digest": built.digest}
    if as_json:
        put_json({**found, **({"before": loadings[0], "after": loadings[1]} if loadings else {})})
        return
    put(clean(name))
    if not quiet:
        say(f"{found['rewritten']} of {found['files']} files were laid out anew; the others are the same files.")
        if loadings:
            for line in told(*loadings):
                say(line)


def _directory(source: str, here: Node, *, quiet: bool) -> Path:
    if Path(source).is_dir():
        return Path(source).absolute()
    from modeldist.cli.pulling import error_of, pulled

    done = pulled(source, here, quiet=quiet)
    if done.state != "done":
        raise error_of(done)
    return Path(done.path)


def _write(before: Path, after: Path, align: int) -> dict[str, object]:
    """Make the directory `after`, whole or not at all; what was done. Raises UsageError, Unsupported, StorageError."""
    from modeldist.agent.store.failures import naming

    if after.exists() and (not after.is_dir() or any(after.iterdir())):
        raise UsageError(f"{after} is there already and not empty.", remedy="Name a new directory.")
    with naming("make a directory", after):
        after.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=after.parent, prefix=f".{after.name}-") as room:
            made = Path(room) / "model"
            found = _lay_out(before, made, align)
            made.rename(after)
    return found


def _lay_out(before: Path, after: Path, align: int) -> dict[str, object]:
    from modelpack.placement import place_file
    from modelpack.rearranging import arrange, write_arranged
    from modelpack.safetensors_header import read_header
    from modelpack.sources import collect_files

    files = collect_files(before, follow=(before.resolve().parents[2],) if _in_hub(before) else ())
    if not any(file.path.endswith(".safetensors") for file in files):
        raise Unsupported(
            f"{before} has no safetensors files, and no others are laid out anew.",
            remedy="Convert its weights to safetensors first.",
        )
    rewritten = 0
    for file in files:
        target = after / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        arrangement = None
        if file.path.endswith(".safetensors"):
            arrangement = arrange(read_header(file.file, name=file.path), align=align)
        if arrangement is None:
            place_file(file.file, target)
        else:
            write_arranged(file.file, target, arrangement)
            rewritten += 1
    return {"files": len(files), "rewritten": rewritten}


def _in_hub(folder: Path) -> bool:
    return folder.parent.name == "snapshots"


def _measured(before: Path, after: Path, runs: int) -> tuple[Loading, Loading]:
    from modeldist.bench.cold_load import compare

    return compare(before, after, runs)


def told(before: Loading, after: Loading) -> list[str]:
    """The measurement, for a person."""
    return [
        f"cold load  {before.seconds:.2f} s before, {after.seconds:.2f} s after: "
        f"{before.seconds / max(after.seconds, 1e-9):.2f} times as fast "
        f"(predicted {before.predicted:.2f} s and {after.predicted:.2f} s)",
        f"  jumps    {before.jumps} before, {after.jumps} after, in {before.tensors} tensors of {before.files} files",
        f"  pages    {units.size(before.aligned)} before, {units.size(after.aligned)} after of "
        f"{units.size(after.bytes)} in tensors that begin with one",
        f"  waits    {before.faults} page faults waited for the disk before, {after.faults} after; it gave "
        f"{units.size(before.disk)} and {units.size(after.disk)}",
    ]
