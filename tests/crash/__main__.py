"""Every crash of every operation (`make crash`): what was tried, and what does not hold. Then it ends with 1."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.crash.exploring import explore_named
from tests.crash.operations import OPERATIONS


def main() -> int:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="try every nth loss of power only (%(default)s)")
    parser.add_argument("operations", nargs="*", help="by name; all when there is none")
    arguments = parser.parse_args()
    names = arguments.operations or [operation.name for operation in OPERATIONS]
    if unknown := set(names) - {operation.name for operation in OPERATIONS}:
        parser.error(
            f"there is no {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in OPERATIONS)}"
        )
    effects: Counter[str] = Counter()
    tried = disks = violations = 0
    with ProcessPoolExecutor(os.cpu_count() or 1, max_tasks_per_child=1) as pool:
        for name, found in zip(names, pool.map(partial(explore_named, arguments.every), names), strict=True):
            effects += found.effects
            tried, disks = tried + found.tried, disks + found.disks
            violations += len(found.violations)
            print(
                f"{name:20} {found.effects.total():4} effects {found.tried:8,} crashes {found.disks:7,} disks that "
                f"differ {len(found.violations):3} violations",
                flush=True,
            )
            for wrong, crash in found.violations.items():
                print(f"  {wrong}\n      {crash}", flush=True)
    told = ", ".join(f"{count} {kind}" for kind, count in effects.most_common())
    print(f"{len(names)} operations, {effects.total()} effects ({told})")
    print(f"{tried:,} crashes, {disks:,} disks that differ, {violations} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
