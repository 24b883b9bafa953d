"""Finding what `modeldist lint` is asked to look at, and printing what it finds."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.agent.this_node import Node
from modeldist.cli import units
from modeldist.cli.places import check_there, layout_at
from modelpack.layout import OciLayout
from modelpack.lint import Report, lint_directory, lint_layout, lint_reference

if TYPE_CHECKING:
    from modeldist.artifact import Artifact
    from modeldist.origins.router import Origins

_WIDTH = 118


def look(target: str, where: Node, *, digests: bool) -> tuple[Report, ...]:
    """`target`: a directory, a layout with or without a tag or digest, or a reference. Raises what reading it does."""
    if (found := layout_at(target)) is not None:
        path, ref = found
        return lint_layout(OciLayout.open(path), ref, digests=digests)
    path = Path(target).expanduser()
    if path.is_dir():
        return (lint_directory(path),)
    check_there(target)
    from modeldist.origins.router import kind_of_reference

    if kind_of_reference(target) != "oci":
        return (asyncio.run(_at_origin(target, where)),)
    return (asyncio.run(_in_registry(target, where)),)


async def _in_registry(target: str, where: Node) -> Report:
    from modeldist.cli.registries import registry_client
    from modeldist.origins.modelpack_errors import in_our_words
    from modelpack.reference import Reference

    ref = Reference.parse(target, where.registry)
    with in_our_words(target, ref.registry):
        async with registry_client(where.plain_http) as client:
            return await lint_reference(ref, client)


async def _at_origin(target: str, where: Node) -> Report:
    """Files that no manifest describes, such as a repository of a hub: a few kilobytes of each, by ranged reads."""
    from modeldist.origins.router import Origins

    origins = Origins(where.origin_settings())
    try:
        artifact = await origins.resolve(target)
        return await asyncio.to_thread(_files_of, target, artifact, origins)
    finally:
        await origins.close()


def _files_of(target: str, artifact: Artifact, origins: Origins) -> Report:
    from modeldist.origins.header_reads import HeaderReads
    from modelpack.lint.directories import check_plain_files
    from modelpack.lint.files import ModelledFile
    from modelpack.lint.findings import Findings

    findings = Findings()
    with HeaderReads(artifact, origins.reader) as reads:
        files = [ModelledFile(file.path, file.kind, file.size, reads.open(file)) for file in artifact.files]
        check_plain_files(files, findings)
    return findings.report(target, artifact.digest, artifact.origin)


def lines(reports: Sequence[Report]) -> list[str]:
    """For people."""
    found: list[str] = []
    for report in reports:
        facts = ", ".join(part for part in (report.dialect, report.digest) if part)
        found.append(f"{report.target} ({facts})" if facts else report.target)
        for finding in report.findings:
            where = f" [{finding.where}]" if finding.where else ""
            text = f"{finding.severity} {finding.rule} {finding.about.name}: {finding.message}{where}"
            found += textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="      ")
            found += textwrap.wrap(
                finding.about.remedy, _WIDTH, initial_indent="      → ", subsequent_indent="        "
            )
        found += [f"  … and {count} more of {rule}" for rule, count in report.left_out.items()]
        counts = [units.counted(count, severity) for severity, count in report.counts.items() if count]
        found.append(f"  {', '.join(counts)}." if counts else "  Nothing found.")
    return found
