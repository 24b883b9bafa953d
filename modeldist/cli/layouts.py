"""Where built models wait to be pushed: an OCI layout, by default one inside the store's directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.agent.config import default_store
from modeldist.cli.node import default_registry

if TYPE_CHECKING:
    from modelpack.reference import Reference


def layout_path(given: Path | None, store: Path | None) -> Path:
    """The layout of `--output` or `--layout`, else the store's own. Absolute."""
    return (given or (store or default_store()) / "layout").expanduser().absolute()


def reference(text: str, registry: str | None) -> Reference:
    """What a model in the layout is called: with its registry, and `latest` where no version was typed.

    Raises modelpack's InvalidReference.
    """
    from modelpack.reference import Reference

    parsed = Reference.parse(text, default_registry(registry))
    return parsed if parsed.tag or parsed.digest else parsed.with_tag("latest")
