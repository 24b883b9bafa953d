"""Reading a model for `modeldist inspect`, wherever it is, without its weights."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modeldist.agent.this_node import Node
from modeldist.artifact import Artifact
from modeldist.cli import layouts, units
from modeldist.cli.places import check_there, layout_at
from modeldist.cli.terminal import table_lines
from modeldist.errors import UsageError
from modelpack.artifact import read_artifact
from modelpack.config import ModelConfig
from modelpack.inspect import ArtifactSummary, FileSummary, describe
from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor, Manifest
from modelpack.sources import collect_files

_MOST_CONFIG = 4 << 20  # bytes of a config blob; real ones have a few thousand


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model. `digest` and `media_type` are empty for what has no manifest; sizes in bytes."""

    target: str
    digest: str = ""
    media_type: str = ""
    dialect: str = ""
    size: int = 0
    kinds: dict[str, int] = {}
    files: tuple[FileSummary, ...] = ()
    config: ModelConfig | None = None
    deviations: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspected:
    """A model and, where there is one, its manifest as it was served."""

    about: About
    raw: bytes | None = None

    def manifest(self) -> bytes:
        """Raises UsageError where there is none."""
        if self.raw is None:
            raise UsageError(f"{self.about.target} has no manifest.", remedy="Leave --raw out.")
        return self.raw


def look(target: str, layout: Path | None, where: Node) -> Inspected:
    """Find out about `target`. Raises what the origin, layout or directory does."""
    if layout is not None:
        return _in_layout(target, OciLayout.open(layout), str(layouts.reference(target, where.registry)))
    if (found := layout_at(target)) is not None:
        return _in_layout(target, OciLayout.open(found[0]), found[1])
    path = Path(target).expanduser()
    if path.is_dir():
        return _directory(path)
    check_there(target)
    from modeldist.origins.router import kind_of_reference

    if kind_of_reference(target) == "oci":
        return asyncio.run(_in_registry(target, where))
    return asyncio.run(_at_origin(target, where))


def _in_layout(target: str, layout: OciLayout, ref: str) -> Inspected:
    descriptor, manifest = layout.manifest(ref)
    raw = layout.blobs.read(descriptor, "manifest")
    return _read(target, descriptor, manifest, layout.blobs.read(manifest.config, "config"), raw)


async def _in_registry(target: str, where: Node) -> Inspected:
    from modeldist.cli.registries import registry_client
    from modeldist.origins.modelpack_errors import in_our_words
    from modelpack.oci.transfer import fetch_model
    from modelpack.reference import Reference

    ref = Reference.parse(target, where.registry)
    with in_our_words(target, ref.registry):
        async with registry_client(where.plain_http) as client:
            fetched, manifest = await fetch_model(ref, client)
            config = await client.get_blob(ref, manifest.config, _MOST_CONFIG)
    descriptor = Descriptor(media_type=fetched.media_type, digest=fetched.digest, size=len(fetched.raw))
    return _read(target, descriptor, manifest, config, fetched.raw)


async def _at_origin(target: str, where: Node) -> Inspected:
    from modeldist.origins import selected
    from modeldist.origins.router import Origins

    origins = Origins(where.origin_settings())
    try:
        # What is there, all of it, where the target itself does not select.
        asked = target if selected.split(target)[1] else selected.join(target, selected.EVERYTHING)
        return Inspected(_of_artifact(target, await origins.resolve(asked)))
    finally:
        await origins.close()


def _read(target: str, descriptor: Descriptor, manifest: Manifest, config: bytes, raw: bytes) -> Inspected:
    # Lenient: what is wrong with it is what the user wants to see.
    summary: ArtifactSummary = describe(read_artifact(manifest, config, mode="lenient"), descriptor)
    about = About(
        target=target,
        digest=summary.digest,
        media_type=summary.media_type,
        dialect=summary.dialect,
        size=summary.size,
        kinds=summary.kinds,
        files=summary.files,
        config=summary.config,
        deviations=tuple(msgspec.to_builtins(summary.deviations)),
    )
    return Inspected(about, raw)


def _of_artifact(target: str, artifact: Artifact) -> About:
    return About(
        target=target,
        digest=artifact.digest,
        dialect=artifact.origin,
        size=artifact.size,
        kinds=_kinds((file.kind, file.size) for file in artifact.files),
        files=tuple(
            FileSummary(file.path, file.size, file.kind, file.encoding, file.digest, "") for file in artifact.files
        ),
        warnings=artifact.warnings,
    )


def _directory(path: Path) -> Inspected:
    """What a build of it would hold; nothing is hashed."""
    from modelpack.filekinds import kind_of
    from modelpack.model_facts import model_facts

    files = collect_files(path)
    facts = model_facts(files)
    summaries = tuple(FileSummary(file.path, file.size, kind_of(file.path, file.size), "raw", "", "") for file in files)
    about = About(
        target=str(path),
        dialect="directory",
        size=sum(file.size for file in files),
        kinds=_kinds((file.kind, file.size) for file in summaries),
        files=summaries,
        warnings=facts.warnings,
    )
    return Inspected(about)


def _kinds(files: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for kind, size in files:
        found[kind] = found.get(kind, 0) + size
    return dict(sorted(found.items()))


def lines(about: About) -> list[str]:
    """For people."""
    kinds = ", ".join(f"{kind} {units.size(size)}" for kind, size in about.kinds.items())
    facts = [
        ("digest", about.digest),
        ("format", " ".join(part for part in (about.dialect, about.media_type) if part)),
        ("size", f"{units.size(about.size)} in {len(about.files)} files ({kinds})"),
        *_config_facts(about.config),
    ]
    found = [f"{name:<14}{value}" for name, value in facts if value]
    found.append("")
    rows = [(file.path, units.size(file.size), file.kind, file.encoding, file.digest[:19]) for file in about.files]
    found += table_lines(("FILE", "SIZE", "KIND", "ENCODING", "DIGEST"), rows, right=frozenset({1}))
    remarks = [f"{each['severity']}: {each['message']}" for each in about.deviations]
    remarks += [f"warning: {warning}" for warning in about.warnings]
    return [*found, "", *remarks] if remarks else found


def _config_facts(config: ModelConfig | None) -> list[tuple[str, str]]:
    """Everything the config says, in its own words, except its list of layers."""
    if config is None:
        return []
    facts: list[tuple[str, str]] = []

    def walk(value: dict[str, Any]) -> None:
        for key, inner in value.items():
            if isinstance(inner, dict):
                walk(inner)
            elif inner not in ("", None, [], ()):
                text = ", ".join(map(str, inner)) if isinstance(inner, list | tuple) else str(inner)
                facts.append((key, text))

    document = msgspec.to_builtins(config)
    document.pop("modelfs", None)
    walk(document)
    return facts
