"""Lint of a directory that is to become a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from modelpack.errors import BuildError, UnsafeName
from modelpack.filekinds import kind_of
from modelpack.lint.files import ModelledFile
from modelpack.lint.findings import Findings, Report
from modelpack.lint.tensors import check_tensors
from modelpack.lint.weights import check_files
from modelpack.safetensors_header import ReadRange
from modelpack.sources import SourceFile, collect_files


def lint_directory(directory: Path, *, follow: tuple[Path, ...] = ()) -> Report:
    """What a build of `directory` would get wrong or carry along. `follow` as for `modelpack.build.build`.

    Raises OSError; BuildError when it is no directory.
    """
    findings = Findings()
    if not directory.is_dir():
        raise BuildError(f"{directory} is no directory.", remedy="Name the directory that holds the model's files.")
    try:
        files = [_file(source) for source in collect_files(directory, follow=follow)]
    except UnsafeName as problem:
        findings.add("name-unsafe", problem.message)
        return findings.report(str(directory), "", "directory")
    except BuildError as problem:
        findings.add("directory-unbuildable", str(problem))
        return findings.report(str(directory), "", "directory")
    check_plain_files(files, findings)
    return findings.report(str(directory), "", "directory")


def check_plain_files(files: Sequence[ModelledFile], findings: Findings) -> None:
    """The rules for files that no manifest describes."""
    check_files(files, findings)
    check_tensors(files, findings)
    if not any(file.name.startswith(("license", "licence", "copying", "readme")) for file in files):
        findings.add("license-missing", "No file has a license's text, and there is no README.")


def _file(source: SourceFile) -> ModelledFile:
    name = source.path.rpartition("/")[2]
    return ModelledFile(source.path, kind_of(name, source.size), source.size, _reader(source.file))


def _reader(path: Path) -> ReadRange:
    def read_range(start: int, length: int) -> bytes:
        with path.open("rb") as file:
            return os.pread(file.fileno(), length, start)

    return read_range
