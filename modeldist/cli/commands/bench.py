"""`modeldist bench`"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import click

from modeldist.cli.boundary import Command
from modeldist.errors import UsageError

_CHECKOUT = Path(__file__).parents[3]
"""Where tests/ lies beside the package: in a source checkout, but not in an installation."""


@click.command(cls=Command, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure pulls on shaped links, beside other tools.

    The laboratory starts control plane, agents, a registry and rivals in network namespaces. It is part of a source
    checkout, not of an installation, and needs root. `python -m tests.netlab --help` there explains all arguments:
    scenarios, --list, --runs N, --rivals a,b, --cross-check, --json DIR, --charts DIR, --save.

    Where the first argument is start, single, small-files, peers, transports, control, overload, simulator, build,
    delta, mount, stream or layout, that benchmark runs instead, on loopback; these need neither checkout nor root.
    --help after the name explains it.

    \b
    Example:
      modeldist bench cold-8 racks --runs 3
      modeldist bench control --agents 5000
    """
    from modeldist.bench.__main__ import NAMES, main

    if arguments and arguments[0] in NAMES:
        main(list(arguments))
        return
    if not (_CHECKOUT / "tests" / "netlab" / "__main__.py").is_file():
        raise UsageError(
            "The network laboratory is not part of an installed modeldist.",
            remedy="Run it from a source checkout: `make bench`, or `.venv/bin/modeldist bench` there.",
        )
    sys.path.insert(0, str(_CHECKOUT))
    sys.exit(import_module("tests.netlab.__main__").main(list(arguments)))
