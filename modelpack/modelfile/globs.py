"""Which files a pattern of a Modelfile means: `modelpack.globs`, and hidden files only where the pattern has a part
that begins with a dot. So `*` does not take up `.gitattributes`, and `**` not what version control keeps."""

from __future__ import annotations

import re
from functools import lru_cache

from modelpack.errors import BuildError, InvalidSelection
from modelpack.globs import MAX_PATTERN, Glob

MAX_GLOBS = 2000  # patterns of one file that are not literal; each is compared with each file of a directory


def literal_path(glob: str) -> str | None:
    """The one path that `matches` it; None for a pattern that may match several."""
    return re.sub(r"\\(.)", r"\1", glob.removeprefix("./"), flags=re.DOTALL) if is_literal(glob) else None


def is_literal(glob: str) -> bool:
    """Whether it can match one path only."""
    return not any(character in "*?[{" for character in re.sub(r"\\.", "", glob))


def matches(glob: str, path: str) -> bool:
    """Raises BuildError when the pattern is malformed."""
    if len(glob) > MAX_PATTERN and is_literal(
        glob
    ):  # a path may be longer than a pattern, and costs nothing to compare
        return literal_path(glob) == path
    compiled, hidden = _compiled(glob.removeprefix("./"))
    return compiled.matches(path) and (hidden or not any(part.startswith(".") for part in path.split("/")))


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> tuple[Glob, bool]:
    try:
        compiled = Glob(glob)
    except InvalidSelection as problem:
        raise BuildError(problem.message, remedy=problem.remedy) from None
    return compiled, any(part.startswith((".", "\\.")) for part in glob.split("/"))
