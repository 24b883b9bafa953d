"""From a Modelfile and the directory it is for to what is built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelpack.build import BuildPlan
from modelpack.config import ModelDescriptor, TechnicalConfig
from modelpack.config_schema import is_param_size
from modelpack.errors import BuildError, InvalidModelfile
from modelpack.mediatypes import LayerKind
from modelpack.modelfile.document import Modelfile, Pattern
from modelpack.modelfile.globs import MAX_GLOBS, is_literal, literal_path, matches
from modelpack.sources import SourceFile, collect_files


def plan_modelfile(
    modelfile: Modelfile,
    directory: Path,
    *,
    name: str = "Modelfile",
    follow: tuple[Path, ...] = (),
    without: tuple[Path, ...] = (),
) -> BuildPlan:
    """Which files of `directory` the patterns mean, and what the commands say of the model.

    A file that several patterns mean is of the kind of the first. `name` is what errors call the Modelfile, `follow`
    and `without` are as for `collect_files`. Raises InvalidModelfile, BuildError, UnsafeName.
    """
    patterns = modelfile.patterns
    for pattern in patterns:
        try:
            matches(pattern.glob, "")
        except BuildError as problem:
            raise InvalidModelfile(f"{name}, line {pattern.line}: {problem.message}", remedy=problem.remedy) from None
    literal = {pattern.glob: literal_path(pattern.glob) for pattern in patterns}
    paths, globs = set(literal.values()), [glob for glob, path in literal.items() if path is None]
    if len(globs) > MAX_GLOBS:
        raise InvalidModelfile(f"{name} has {len(globs)} patterns for several files; at most {MAX_GLOBS} are read.")
    files = collect_files(
        directory,
        follow=follow,
        without=without,
        wanted=lambda path: path in paths or any(matches(glob, path) for glob in globs),
    )
    by_path = {file.path: file for file in files}
    chosen: dict[str, tuple[SourceFile, LayerKind]] = {}
    warnings: list[str] = []
    for pattern in patterns:
        path = literal[pattern.glob]
        found = [file for file in (files if path is None else [by_path.get(path)]) if file is not None]
        found = _files(pattern, found, directory, name)
        if not found:
            warnings.append(f"{name}, line {pattern.line}: {pattern.command} {pattern.glob} means no file.")
        for file in found:
            chosen.setdefault(file.path, (file, pattern.kind))
    if not chosen:
        raise InvalidModelfile(
            f"{name} names no files for a model.", remedy="Add lines such as MODEL *.safetensors and CONFIG *.json."
        )
    if modelfile.paramsize and not is_param_size(modelfile.paramsize):
        warnings.append(
            f"{name}: PARAMSIZE {modelfile.paramsize} is not written as the specification wants, like 0.6b."
        )
    return BuildPlan(
        files=tuple(sorted(chosen.values(), key=lambda each: each[0].path)),
        about=ModelDescriptor(name=modelfile.name, family=modelfile.family),
        technical=TechnicalConfig(
            architecture=modelfile.arch,
            format=modelfile.format,
            param_size=modelfile.paramsize,
            precision=modelfile.precision,
            quantization=modelfile.quantization,
        ),
        warnings=tuple(warnings),
    )


def _files(pattern: Pattern, files: Sequence[SourceFile], directory: Path, name: str) -> list[SourceFile]:
    glob = pattern.glob
    found = [file for file in files if matches(glob, file.path)]
    if found or not is_literal(glob):
        return found
    said = f"{name}, line {pattern.line}: {pattern.command} {glob}"
    if glob.startswith("/") or ".." in glob.split("/"):
        raise InvalidModelfile(f"{said} leads out of the directory.", remedy="Write paths below the directory.")
    inside = glob.rstrip("/")
    if (directory / inside).is_dir():
        raise InvalidModelfile(f"{said} is a directory.", remedy=f"Name its files: {pattern.command} {inside}/**")
    raise InvalidModelfile(f"{said} is not in {directory}.", remedy="Check the path; it is below the directory.")
