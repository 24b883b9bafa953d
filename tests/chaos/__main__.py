"""What breaks, for as long as you like: `make chaos`.

python -m tests.chaos matrix              every cell; writes its table into docs/reliability.md
python -m tests.chaos soak --minutes 10   faults drawn at random; writes what came of it there
python -m tests.chaos kills --minutes 10  kill -9 at random moments, in rounds until one fails

Each prints its seed and takes it (`--seed`)."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

_RECORD = Path(".cache/chaos")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("matrix", "soak", "kills"))
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak or the rounds (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--workers", type=int, default=2, help="worlds of the matrix beside each other (%(default)s)")
    parser.add_argument(
        "--only", default="", help="only cells whose names contain this, as pytest -k; others as last seen"
    )
    parser.add_argument("--resume", action="store_true", help="only cells that the last run has no record of")
    arguments = parser.parse_args()
    print(f"--seed {arguments.seed}", flush=True)
    from tests.chaos.matrix.room import NoRoom

    try:
        if arguments.what == "matrix":
            return _matrix(arguments.seed, arguments.workers, arguments.only, arguments.resume)
        return {"soak": _soak, "kills": _kills}[arguments.what](arguments.minutes, arguments.seed)
    except NoRoom as why:
        print(why)
        return 1


def _matrix(seed: int, workers: int, only: str, resume: bool) -> int:
    from tests.chaos.matrix.document import write_matrix
    from tests.chaos.matrix.room import demand
    from tests.chaos.matrix.world import HOMES, missing, room_for

    if why := missing():
        print(f"no world can be made here: {why}")
        return 1
    demand(HOMES, room_for(workers, 2))
    if not only and not resume:
        shutil.rmtree(_RECORD, ignore_errors=True)
    _RECORD.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "pytest", "-q", "--no-header", "-n", str(workers)),
        *("-o", "python_files=matrix_cells.py", "tests/chaos/matrix", *(("-k", only) if only else ())),
    ]
    environment = {"MODELDIST_CHAOS_SEED": str(seed), "MODELDIST_CHAOS_RECORD": str(_RECORD.resolve())}
    if resume:
        environment["MODELDIST_CHAOS_RESUME"] = "1"
    began = time.monotonic()
    failed = subprocess.run(command, env={**os.environ, **environment}, check=False).returncode
    print(f"the matrix took {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    write_matrix(_RECORD)
    return failed


def _soak(minutes: float, seed: int) -> int:
    from tests.chaos.matrix.document import write_soak
    from tests.chaos.matrix.soak import said, soak

    report = soak(minutes, seed)
    lines = said(report)
    print("\n".join(lines), flush=True)
    write_soak(lines)
    return 1 if report.wrong else 0


def _kills(minutes: float, seed: int) -> int:
    """Each round draws a seed of its own and prints it; `MODELDIST_CHAOS_SEED=… pytest tests/chaos` draws the same
    moments again."""
    rng = random.Random(seed)
    end = time.monotonic() + 60 * minutes
    rounds = 0
    while time.monotonic() < end:
        rounds += 1
        drawn = rng.randrange(1 << 32)
        print(f"round {rounds}: MODELDIST_CHAOS_SEED={drawn}", flush=True)
        tests = [str(path) for path in sorted(Path("tests/chaos").glob("test_*.py"))]
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", *tests]
        environment = {**os.environ, "MODELDIST_CHAOS_SEED": str(drawn)}
        if failed := subprocess.run(command, env=environment, check=False).returncode:
            return failed
    print(f"{rounds} rounds, nothing lost", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
