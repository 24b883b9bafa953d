"""Where built models wait to be pushed: an OCI layout, by default one inside the store's directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modeldist.agent.config import default_store
from modeldist.agent.this_node import default_registry

if TYPE_CHECKING:
    from modelpack.reference import Reference


def layout_path(given: Path | None, store: Path | None) -> Path:
    """The layout of `--output` or `--layout`, else the store's own. Absolute."""
    return (given or (store or default_store()) / "layout").expanduser().absolute()


class BuiltModel(msgspec.Struct, frozen=True):
    """A name in the layout. `size` in bytes of its layers, the same content counted once; `files` are layers."""

    reference: str
    digest: str
    size: int
    files: int


def built_models(store: Path) -> list[BuiltModel]:
    """What was built into the store's layout, by name. Raises LayoutError, InvalidManifest."""
    from modelpack.layout import ABOUT_ANOTHER, OciLayout

    path = layout_path(None, store)
    if not (path / "oci-layout").exists():
        return []
    layout, found = OciLayout.open(path), []
    for name, entry in sorted(layout.refs().items()):
        if ABOUT_ANOTHER.fullmatch(name.rpartition(":")[2]):
            continue
        layers = layout.manifest(entry.digest)[1].layers
        size = sum({layer.digest: layer.size for layer in layers}.values())
        found.append(BuiltModel(name, entry.digest, size, len(layers)))
    return found


def reference(text: str, registry: str | None) -> Reference:
    """What a model in the layout is called: with its registry, and `latest` where no version was typed.

    Raises modelpack's InvalidReference.
    """
    from modelpack.reference import Reference

    parsed = Reference.parse(text, default_registry(registry))
    return parsed if parsed.tag or parsed.digest else parsed.with_tag("latest")
