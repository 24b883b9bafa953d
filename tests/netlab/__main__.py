"""The network laboratory: real agents, a real control plane and a real registry in network namespaces with shaped links."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from tests.netlab import host, namespaces
from tests.netlab.campaign import campaign
from tests.netlab.namespaces import LabError
from tests.netlab.scenarios import MEASURED, SCENARIOS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="modeldist bench", description=__doc__)
    parser.add_argument("scenario", nargs="*")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args(arguments)
    for name in options.scenario:
        m = campaign(SCENARIOS[name], runs=options.runs, rivals=(), directory=options.directory, say=lambda t: print(t, flush=True))
        print(m.bars())
        if options.json:
            options.json.write_text(json.dumps(m.as_dict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
