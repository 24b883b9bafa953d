"""This package's byte code, which an installation has and a checkout may not: without it every start compiles a
hundred modules, in a tenth of a second or two that no user waits."""

from __future__ import annotations

import compileall
from functools import cache
from importlib.util import find_spec

_PACKAGES = ("modeldist", "modelpack", "rdma")


@cache
def as_installed() -> None:
    """Compile what is not compiled yet. Where that cannot be written, starts stay slow."""
    for package in _PACKAGES:
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            compileall.compile_dir(place, quiet=2)
