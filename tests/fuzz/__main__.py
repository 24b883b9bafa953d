"""Fuzz one parser, or all: `python -m tests.fuzz TARGET --seconds N`; `python -m tests.fuzz TARGET FILE …` to see one
finding again.

With atheris (on versions of CPython for which it has wheels) new inputs follow the code's branches and are kept in
`.cache/fuzz` for the next run; without it, they are changes of the seeds, the same for the same `--seed`. An input that
takes longer than `--timeout` seconds or more than `--memory` MiB is a finding too. Exit status 0: nothing was found.
"""

from __future__ import annotations

import argparse
import atexit
import importlib.util
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.target import HERE, is_beside, load_target, target_names

_INPUTS = re.compile(r"^(?:fuzz \w+: (?=\d+ inputs)|stat::number_of_executed_units: )(\d+)", re.MULTILINE)


def main() -> int:
    given = _arguments()
    if given.target == "all":
        return _all(sys.argv[2:])
    from tests.fuzz import running

    logging.disable(logging.CRITICAL)  # of thousands of refusals in order
    files = [path.read_bytes() for path in given.files]
    limits = running.Limits(seconds=given.seconds, timeout=given.timeout, memory=given.memory, seed=given.seed)
    findings = given.findings / given.target.rpartition(":")[2]
    if files:
        return running.replay(load_target(given.target), files, limits, findings)
    if given.plain or importlib.util.find_spec("atheris") is None or is_beside(given.target):
        return running.by_mutation(load_target(given.target), limits, findings)
    return running.by_coverage(given.target, limits, findings)


def _all(arguments: list[str]) -> int:
    """Every target in a process of its own; the inputs of all and the names of those with findings at the end."""
    failed, inputs = [], 0
    for name in target_names():
        command = [sys.executable, "-m", "tests.fuzz", name, *arguments]
        done = subprocess.run(
            command, check=False, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        print(done.stdout, end="", flush=True)
        inputs += sum(map(int, _INPUTS.findall(done.stdout)))
        if done.returncode:
            failed.append(name)
    fine = len(target_names()) - len(failed)
    print(f"fuzz: {inputs} inputs; {fine} of {len(target_names())} targets without findings", *failed)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", help=f"all, or one of {', '.join(target_names())}")
    parser.add_argument("files", nargs="*", type=Path, help="inputs to run instead")
    parser.add_argument("--seconds", type=float, default=60, help="how long (60)")
    parser.add_argument("--timeout", type=int, default=10, help="seconds for one input (10)")
    parser.add_argument("--memory", type=int, default=1024, help="MiB for the process (1024)")
    parser.add_argument("--seed", type=int, default=0, help="of the random choices (0)")
    parser.add_argument("--plain", action="store_true", help="without atheris even where it is installed")
    parser.add_argument("--findings", type=Path, default=HERE.parent.parent / ".cache" / "fuzz", help="where they go")
    return parser.parse_args()


if __name__ == "__main__":
    status = main()
    atexit._run_exitfuncs()  # servers of a target end while there still are threads to end them in
    sys.stdout.flush()
    os._exit(status)
