"""`modeldist prune`"""

from __future__ import annotations

from pathlib import Path

import click

from modeldist.cli import options, units
from modeldist.cli.boundary import Command
from modeldist.cli.terminal import put, put_json


@click.command(cls=Command)
@click.option("--layout", type=options.PATH, metavar="LAYOUT", help="OCI layout to prune. [default: the store's]")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--remove-untagged/--keep-untagged", default=True, show_default=True, help="Manifests without a name as well."
)
@options.store
@options.as_json
def prune(layout: Path | None, dry_run: bool, remove_untagged: bool, store: Path | None, as_json: bool) -> None:
    """Remove what no built model needs.

    Manifests without a name, blobs that nothing leads to, left-overs of what was broken off.

    Signatures and chunk tables stay as long as the model they are of. Pulled models are `gc`'s business, registries
    their operators'.

    \b
    Example:
      modeldist prune --dry-run
    """
    from modeldist.agent.store.failures import naming
    from modeldist.cli.layouts import layout_path
    from modelpack.layout import OciLayout
    from modelpack.pruning import Pruned
    from modelpack.pruning import prune as pruned

    path = layout_path(layout, store)
    if layout is None and not (path / "oci-layout").exists():
        done = Pruned((), (), 0, 0)  # nothing was built yet
    else:
        with naming("prune", path):
            done = pruned(OciLayout.open(path), untagged=remove_untagged, dry_run=dry_run)
    if as_json:
        put_json(
            {
                "layout": str(path),
                "dry_run": dry_run,
                "bytes_freed": done.bytes_freed,
                "manifests": done.manifests,
                "blobs": done.blobs,
                "leftovers": done.leftovers,
            }
        )
        return
    would = "would be " if dry_run else ""
    for digest in done.manifests:
        put(f"{digest}: {would}removed")
    put(
        f"{units.size(done.bytes_freed)} {would}freed: {len(done.manifests)} manifests, {len(done.blobs)} blobs, "
        f"{done.leftovers} left-overs."
    )
