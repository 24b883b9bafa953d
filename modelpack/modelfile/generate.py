"""A Modelfile for a directory: what its files are by their names, and what config.json says of the model.

As modctl's `modelfile generate`: extension lists, in the order config, weights, code, documents; what none of them
knows is a weight when larger than 128 MB, else code; at most 2048 files, 128 GiB each, 8 TiB in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpack.errors import BuildError
from modelpack.filekinds import kind_of
from modelpack.mediatypes import LayerKind
from modelpack.model_facts import ModelFacts, model_facts
from modelpack.modelfile.document import KINDS, Modelfile, Pattern, literal
from modelpack.modelfile.globs import matches
from modelpack.sources import SourceFile, collect_files

MAX_FILES = 2048
MAX_FILE = 128 * 1024**3  # bytes
MAX_TOTAL = 8 * 1024**4  # bytes

_COMMANDS: dict[LayerKind, str] = {kind: command for command, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Excludes:
    """Globs over paths; `include` brings back hidden files and others that are left out, `exclude` leaves out more."""

    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()

    def leave_out(self, path: str) -> bool:
        return _any(self.exclude, path)

    def bring_back(self, path: str) -> bool:
        return _any(self.include, path) and not _any(self.exclude, path)


@dataclass(frozen=True, slots=True)
class Generated:
    """`warnings` are sentences about files that could not be read."""

    modelfile: Modelfile
    warnings: tuple[str, ...]


def generate_modelfile(
    directory: Path,
    given: Modelfile = Modelfile(),  # noqa: B008 - frozen
    *,
    excludes: Excludes = Excludes(),
    follow: tuple[Path, ...] = (),
    name: str = "",
) -> Generated:
    """A Modelfile that builds all files of `directory`; what `given` says goes before what the files say.

    `name`: the model's name where neither says one, else the directory's. Raises BuildError, UnsafeName.
    """
    files = _files(directory, excludes, follow)
    _check(directory, files)
    facts = model_facts(files)
    about = _about(given, facts, name or directory.resolve().name)
    patterns = tuple(
        Pattern(_COMMANDS[kind_of(file.path.rpartition("/")[2], file.size)], literal(file.path)) for file in files
    )
    return Generated(Modelfile(**about, patterns=patterns), facts.warnings)


def _files(directory: Path, excludes: Excludes, follow: tuple[Path, ...]) -> list[SourceFile]:
    files = {file.path: file for file in collect_files(directory, follow=follow)}
    if excludes.include:
        more = collect_files(directory, follow=follow, wanted=excludes.bring_back)
        files |= {file.path: file for file in more}
    chosen = [file for file in files.values() if not excludes.leave_out(file.path)]
    if not chosen:
        raise BuildError(f"All files of {directory} are excluded.", remedy="Exclude less.")
    return sorted(chosen, key=lambda file: file.path)


def _about(given: Modelfile, facts: ModelFacts, name: str) -> dict[str, str]:
    technical = facts.technical
    return {
        "name": given.name or facts.name or name,
        "arch": given.arch or technical.architecture,
        "family": given.family or facts.family,
        "format": given.format or technical.format,
        "paramsize": given.paramsize or technical.param_size,
        "precision": given.precision or technical.precision,
        "quantization": given.quantization or technical.quantization,
    }


def _check(directory: Path, files: Sequence[SourceFile]) -> None:
    if len(files) > MAX_FILES:
        raise BuildError(
            f"{directory} has {len(files)} files and a generated Modelfile names at most {MAX_FILES}.",
            remedy="Exclude some, or write a Modelfile with patterns.",
        )
    for file in files:
        if file.size > MAX_FILE:
            raise BuildError(
                f"{file.file} has {file.size} bytes and a generated Modelfile names files of at most {MAX_FILE}.",
                remedy="Exclude it, or write a Modelfile by hand.",
            )
    if (total := sum(file.size for file in files)) > MAX_TOTAL:
        raise BuildError(
            f"The files of {directory} have {total} bytes and a generated Modelfile names at most {MAX_TOTAL}.",
            remedy="Exclude some, or write a Modelfile by hand.",
        )


def _any(globs: tuple[str, ...], path: str) -> bool:
    """A glob without a slash means names in any directory."""
    name = path.rpartition("/")[2]
    return any(matches(glob, path) or ("/" not in glob and matches(glob, name)) for glob in globs)
