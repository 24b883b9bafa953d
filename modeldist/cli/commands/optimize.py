"""`modeldist optimize`"""

from __future__ import annotations

from dataclasses import dataclass
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
    from modelpack.plan.layout import Layout
    from modelpack.presharding import Cut
    from modelpack.sources import SourceFile

_PATHS = ("/", "./", "../", "~/")


@dataclass(frozen=True)
class _Wish:
    """How the files are to lie. `align` in bytes; `ranks`: None cuts nothing. `runs` of the measurement; 0: none."""

    align: int
    ranks: Layout | None
    runs: int


@click.command(cls=Command)
@click.argument("source", metavar="DIR|REF")
@click.option("--into", required=True, metavar="DIR|REF", help="A new directory, or what to call it for `push`.")
@click.option("--ranks", metavar="LAYOUT", help="Cut weights into files for ranks: 4 or tp=4, pp=2, tp=4,pp=2, ep=8.")
@click.option("--huge-pages", is_flag=True, help="Begin the tensors at 2 MiB instead of 4 KiB.")
@click.option("--no-measure", is_flag=True, help="Do not load both from a cold page cache.")
@click.option("--runs", type=click.IntRange(1, 20), default=3, show_default=True, help="Of the measurement.")
@options.as_json
@options.quiet
@options.node_options("registry", "plain_http", "hf_endpoint", "policy", "store", "hub", "socket", "agent")
def optimize(
    source: str,
    into: str,
    ranks: str | None,
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

    With --ranks, a file for each rank has the tensors and rows that this rank loads, by the rules of `pull --rank`, and
    others have what several load; `modeldist pull --rank` of the new model takes the files of its rank. What is
    measured is the load of the first rank.

    DIR begins with / or ./, or is there already. What is called REF waits for `modeldist push REF`.

    \b
    Example:
      modeldist optimize org/model:v1 --into org/model:v1-aligned
      modeldist optimize org/model:v1 --into org/model:v1-tp4 --ranks tp=4
    """
    from modelpack.plan.layout import Layout
    from modelpack.rearranging import HUGE_PAGE, PAGE

    wish = _Wish(
        HUGE_PAGE if huge_pages else PAGE, Layout.parse(ranks) if ranks is not None else None, 0 if no_measure else runs
    )
    before = _directory(source, here, quiet=quiet)
    found: dict[str, object]
    if into.startswith(_PATHS) or Path(into).exists():
        folder = Path(into).expanduser().absolute()
        if folder.is_relative_to(before) and folder != before:
            raise UsageError(f"{folder} would be a part of the model in {before}.", remedy="Name another directory.")
        found = {"path": str(folder), **_write(before, folder, wish)}
        name = str(folder)
    else:
        from modeldist.cli.layouts import layout_path, reference
        from modeldist.cli.unfinished import unfinished
        from modelpack.build import build
        from modelpack.layout import OciLayout

        ref = reference(into, here.registry)
        layout = OciLayout.create(layout_path(None, here.store))
        with unfinished(layout.path.parent, "optimize") as folder:
            found = _write(before, folder, wish)
            built = build(folder, layout, ref=str(ref))
        name = f"{ref.name}@{built.digest}"
        found |= {"reference": name, "digest": built.digest}
    lines = found.pop("told")
    if as_json:
        put_json(found)
        return
    put(clean(name))
    if not quiet and isinstance(lines, list):
        for line in lines:
            say(clean(line))


def _directory(source: str, here: Node, *, quiet: bool) -> Path:
    if Path(source).is_dir():
        return Path(source).absolute()
    from modeldist.cli.pulling import error_of, pulled

    done = pulled(source, here, quiet=quiet)
    if done.state != "done":
        raise error_of(done)
    return Path(done.path)


def _write(before: Path, after: Path, wish: _Wish) -> dict[str, object]:
    """Make the directory `after`, whole or not at all, and measure it; what was done, and `told` of it. Raises
    UsageError, Unsupported, OSError."""
    from modeldist.cli.unfinished import unfinished

    if after.exists() and (not after.is_dir() or any(after.iterdir())):
        raise UsageError(f"{after} is there already and not empty.", remedy="Name a new directory.")
    cut: Cut | None = None
    files = _files(before)
    with unfinished(after.parent, after.name) as made:
        if wish.ranks is None:
            found = _laid_out(files, made, wish.align)
        else:
            found, cut = _cut(files, made, wish.ranks, wish.align)
        made.rename(after)
    if cut is not None:
        return _with_one_rank(found, cut, after, wish.runs)
    lines = [f"{found['rewritten']} of {found['files']} files were laid out anew; the others are the same files."]
    if wish.runs:
        from modeldist.bench.cold_load import by_name, compare

        weights = [file for file in files if file.path.endswith(".safetensors")]
        old, new = by_name([file.file for file in weights]), by_name([after / file.path for file in weights])
        first, second = compare(old, new, wish.runs)
        found |= {"before": first, "after": second}
        lines += told(first, second)
    return {**found, "told": lines}


def _files(before: Path) -> tuple[SourceFile, ...]:
    from modelpack.sources import check_whole, collect_files

    files = collect_files(before, follow=(before.resolve().parents[2],) if _in_hub(before) else ())
    if not any(file.path.endswith(".safetensors") for file in files):
        raise Unsupported(
            f"{before} has no safetensors files, and no others are laid out anew.",
            remedy="Convert its weights to safetensors first.",
        )
    check_whole(before, files)
    return files


def _laid_out(files: tuple[SourceFile, ...], after: Path, align: int) -> dict[str, object]:
    return {"files": len(files), "rewritten": sum(_lay_out(file, after, align) for file in files)}


def _lay_out(file: SourceFile, after: Path, align: int) -> bool:
    """Whether it was laid out anew."""
    from modelpack.placement import place_file
    from modelpack.rearranging import arrange, write_arranged
    from modelpack.safetensors_header import read_header

    target = after / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.path.endswith(".safetensors"):
        arrangement = arrange(read_header(file.file, name=file.path), align=align)
        if arrangement is not None:
            write_arranged(file.file, target, arrangement)
            return True
    place_file(file.file, target)
    return False


def _in_hub(folder: Path) -> bool:
    return folder.parent.name == "snapshots"


# --- for ranks ---


def _cut(files: tuple[SourceFile, ...], after: Path, ranks: Layout, align: int) -> tuple[dict[str, object], Cut]:
    from modeldist.cli.rank_cutting import cut_files, is_left_out, write_cut

    cut = cut_files(files, ranks)
    write_cut(cut, after, align)
    others = [file for file in files if not is_left_out(file.path)]
    rewritten = sum(_lay_out(file, after, align) for file in others)
    count = len(others) + len(cut.files) + 1  # and their index
    return {"files": count, "rewritten": rewritten, "ranks": str(ranks), "notes": cut.notes}, cut


def _with_one_rank(found: dict[str, object], cut: Cut, after: Path, runs: int) -> dict[str, object]:
    from modeldist.cli.rank_cutting import measured, one_rank, told_of

    rank = one_rank(cut, after)
    lines = [f"Weights were cut into {len(cut.files)} files for {cut.layout.count} ranks ({cut.layout}).", *cut.notes]
    lines.append(told_of(rank))
    found |= {"rank": rank}
    if runs:
        first, second = measured(cut, after, runs)
        found |= {"before": first, "after": second}
        lines += told(first, second)
    return {**found, "told": lines}


def told(before: Loading, after: Loading) -> list[str]:
    """The measurement, for a person."""
    return [
        f"cold load  {before.seconds:.2f} s before, {after.seconds:.2f} s after: "
        f"{before.seconds / max(after.seconds, 1e-9):.2f} times as fast "
        f"(predicted {before.predicted:.2f} s and {after.predicted:.2f} s)",
        f"  jumps    {before.jumps} before, {after.jumps} after, in {_tensors(before, after)}",
        f"  pages    {units.size(before.aligned)} before, {units.size(after.aligned)} after of "
        f"{units.size(after.bytes)} in tensors that begin with one",
        f"  waits    {before.faults} page faults waited for the disk before, {after.faults} after; it gave "
        f"{units.size(before.disk)} and {units.size(after.disk)}",
    ]


def _tensors(before: Loading, after: Loading) -> str:
    if (before.tensors, before.files) == (after.tensors, after.files):
        return f"{before.tensors} tensors of {before.files} files"
    return f"{before.tensors} reads of {before.files} files and {after.tensors} of {after.files}"
