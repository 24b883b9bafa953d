"""Kill for as long as you like: `make chaos MINUTES=60`. Each round draws a new seed and prints it; the first round
that fails ends it, and `MODELDIST_CHAOS_SEED=… pytest tests/chaos` draws the same moments again."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="of the seeds")
    arguments = parser.parse_args()
    print(f"the seeds of all rounds come from --seed {arguments.seed}", flush=True)
    rng = random.Random(arguments.seed)
    end = time.monotonic() + 60 * arguments.minutes
    rounds = 0
    while time.monotonic() < end:
        rounds += 1
        seed = rng.randrange(1 << 32)
        print(f"round {rounds}: MODELDIST_CHAOS_SEED={seed}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "tests/chaos"]
        if failed := subprocess.run(
            command, env={**os.environ, "MODELDIST_CHAOS_SEED": str(seed)}, check=False
        ).returncode:
            return failed
    print(f"{rounds} rounds, nothing lost", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
