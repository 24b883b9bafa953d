"""What says which files of a directory make a model, and what it is: Modelfiles, as modctl has them, and Kitfiles.

    Modelfile text --parse--> Modelfile --plan--> BuildPlan --build--> layout
    directory --generate--> Modelfile --text--> Modelfile text

May import the rest of `modelpack`. Names load their module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.modelfile.document import Modelfile, Pattern
    from modelpack.modelfile.generate import Excludes, generate_modelfile
    from modelpack.modelfile.kitfile import plan_kitfile
    from modelpack.modelfile.parser import parse_modelfile
    from modelpack.modelfile.plan import plan_modelfile

_HOMES = {
    "Excludes": "generate",
    "Modelfile": "document",
    "Pattern": "document",
    "generate_modelfile": "generate",
    "parse_modelfile": "parser",
    "plan_kitfile": "kitfile",
    "plan_modelfile": "plan",
}

__all__ = [
    "Excludes",
    "Modelfile",
    "Pattern",
    "generate_modelfile",
    "parse_modelfile",
    "plan_kitfile",
    "plan_modelfile",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelpack.modelfile' has no attribute {name!r}")
    return getattr(import_module(f"modelpack.modelfile.{_HOMES[name]}"), name)
