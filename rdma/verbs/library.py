"""pyverbs, whichever of its two layouts is there: enums moved from `pyverbs.enums` (up to 58) to
`pyverbs.libibverbs_enums` (from 59).

Debian's package lies beside the system's Python modules, where a virtual environment does not look; its extension
modules fit any CPython of the same version, so it is taken from there when nothing else is installed.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import Any

from rdma.errors import NoVerbs

_DEBIAN = "/usr/lib/python3/dist-packages"
_REMEDY = "Install Debian's python3-pyverbs, or `pip install pyverbs` (it builds rdma-core)."
_MISMATCH = (
    "pyverbs loads only beside a libibverbs of its own version: Debian's python3-pyverbs fits Debian's libibverbs1."
)


class Library:
    """The classes this package uses. pyverbs has no types: everything is Any."""

    def __init__(self) -> None:
        def module(name: str) -> Any:
            return importlib.import_module(f"pyverbs.{name}")

        try:
            self.enums: Any = module("libibverbs_enums")
        except ModuleNotFoundError:
            self.enums = module("enums")
        self.Context: Any = module("device").Context
        self.PD: Any = module("pd").PD
        memory = module("mr")
        self.MR: Any = memory.MR
        self.DmaBufMR: Any = memory.DmaBufMR
        self.MW: Any = memory.MW
        self.MWBindInfo: Any = memory.MWBindInfo
        completion = module("cq")
        self.CQ: Any = completion.CQ
        self.CompChannel: Any = completion.CompChannel
        pair = module("qp")
        self.QP: Any = pair.QP
        self.QPCap: Any = pair.QPCap
        self.QPInitAttr: Any = pair.QPInitAttr
        self.QPAttr: Any = pair.QPAttr
        address = module("addr")
        self.GID: Any = address.GID
        self.GlobalRoute: Any = address.GlobalRoute
        self.AHAttr: Any = address.AHAttr
        work = module("wr")
        self.SGE: Any = work.SGE
        self.SendWR: Any = work.SendWR
        self.Error: type[Exception] = module("pyverbs_error").PyverbsError


@cache
def library() -> Library:
    """Raises NoVerbs with the reason when it is not there or does not load."""
    try:
        if importlib.util.find_spec("pyverbs") is None and not _borrow():
            raise NoVerbs("pyverbs, the Python binding of the verbs library, is not installed.", remedy=_REMEDY)
        return Library()
    except ImportError as error:
        raise NoVerbs(f"pyverbs does not load: {error}.", remedy=_MISMATCH) from error


def _borrow() -> ModuleType | None:
    """The system's package alone, without a look at its neighbours."""
    spec = importlib.machinery.PathFinder.find_spec("pyverbs", [_DEBIAN])
    if spec is None or spec.loader is None:
        return None
    package = importlib.util.module_from_spec(spec)
    sys.modules["pyverbs"] = package
    spec.loader.exec_module(package)
    return package


def error_number(error: Exception) -> int:
    """The errno that a pyverbs error carries; 0 where it has none."""
    number = getattr(error, "error_code", 0)
    return number if isinstance(number, int) and number > 0 else 0
