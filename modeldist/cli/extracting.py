"""A model that is on this machine as a plain directory: out of a layout, or out of the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from modeldist.agent.this_node import Node
from modeldist.cli import layouts
from modeldist.cli.places import SCHEME, LayoutPlace, place
from modeldist.errors import NotFound
from modeldist.origins import selected
from modelpack.extraction import ExtractedModel, appearing, extract
from modelpack.layout import OciLayout

OnFile = Callable[[str, int], None]


def extracted(reference: str, output: Path, layout: Path | None, here: Node, on_file: OnFile | None) -> ExtractedModel:
    """Raises NotFound, and what `modelpack.extraction.extract` does."""
    if reference.startswith(SCHEME):
        there = place(reference, here.registry)
        assert isinstance(there, LayoutPlace)
        return extract(OciLayout.open(there.path), there.ref, output, on_file=on_file)
    if "://" not in reference and not selected.split(reference)[1]:
        path, name = layouts.layout_path(layout, here.store), str(layouts.reference(reference, here.registry))
        if layout is not None:
            return extract(OciLayout.open(path), name, output, on_file=on_file)
        if (path / "oci-layout").exists() and name in OciLayout.open(path).refs():
            return extract(OciLayout.open(path), name, output, on_file=on_file)
    return _of_store(reference, output, here, on_file)


def _of_store(reference: str, output: Path, here: Node, on_file: OnFile | None) -> ExtractedModel:
    """A pulled model, whose files were verified as they came; `modeldist verify` compares them again."""
    from modeldist.cli.already_here import already_here

    found = already_here(here, reference, offline=True)
    if found is None or found.state != "done":
        fetch = "" if "#" in reference else f" Or fetch it: `modeldist fetch {reference} -o {output}`."
        raise NotFound(f"{reference} is not on this machine.", remedy=f"Pull it: `modeldist pull {reference}`.{fetch}")
    names, size = copied(Path(found.path), output, on_file)
    return ExtractedModel(found.digest, names, size)


def copied(snapshot: Path, output: Path, on_file: OnFile | None = None) -> tuple[tuple[str, ...], int]:
    """A snapshot's files as files of their own, and their bytes. Raises DestinationError, OSError."""
    names: list[str] = []
    size = 0
    with appearing(output) as room:
        for path in sorted(path for path in snapshot.rglob("*") if path.is_file()):
            name = path.relative_to(snapshot).as_posix()
            target = room / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            size += target.stat().st_size
            names.append(name)
            if on_file is not None:
                on_file(name, target.stat().st_size)
    return tuple(names), size
