"""`python -m modeldist.bench NAME …`: run one benchmark."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = (
    "start",
    "single",
    "small-files",
    "peers",
    "transports",
    "control",
    "overload",
    "simulator",
    "build",
    "delta",
    "mount",
    "stream",
    "layout",
)


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] not in NAMES:
        sys.exit(f"usage: python -m modeldist.bench {{{','.join(NAMES)}}} …  (--help after the name explains it)")
    import_module(f"modeldist.bench.{arguments[0].replace('-', '_')}").main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
