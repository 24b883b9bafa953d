"""`python -m modeldist.control.load [--agents N] [--seconds S] [--json] [--set name=value …]`"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import fields, replace

import msgspec

from modeldist.control.load.plan import LoadPlan
from modeldist.control.load.result import table
from modeldist.control.load.run import measure
from modeldist.errors import ModeldistError

_TYPES = {field.name: type(field.default) for field in fields(LoadPlan)}


def _with(plan: LoadPlan, pair: str) -> LoadPlan:
    """The plan with one field set. Raises ValueError."""
    name, _, text = pair.partition("=")
    if name not in _TYPES:
        raise ValueError(f"{name!r} is none of {', '.join(_TYPES)}")
    kind = _TYPES[name]
    value: object = None if text == "none" else (float if kind in (float, type(None)) else int)(text)
    return replace(plan, **{name: value})  # type: ignore[arg-type]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m modeldist.control.load", description="Load a real control plane with synthetic agents."
    )
    parser.add_argument("--agents", type=int, default=LoadPlan().agents)
    parser.add_argument("--seconds", type=float, default=LoadPlan().seconds, help="measured, after all have joined")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=f"of {', '.join(_TYPES)}")
    given = parser.parse_args()
    plan = LoadPlan(agents=given.agents, seconds=given.seconds)
    try:
        for pair in given.set:
            plan = _with(plan, pair)
        result = asyncio.run(measure(plan))
    except ValueError as error:
        parser.error(str(error))
    except ModeldistError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(msgspec.json.encode(result).decode() if given.json else table(result))
    return 0 if result.sound else 1


if __name__ == "__main__":
    sys.exit(main())
