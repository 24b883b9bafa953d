"""The network laboratory: real agents, control plane and registry in network namespaces with shaped links.

    python -m tests.netlab                          every scenario, three runs each, rivals beside
    python -m tests.netlab cold-8 racks --runs 5    some of them
    python -m tests.netlab --list
    python -m tests.netlab --cross-check            the simulator beside the laboratory

Root and Linux with veth, bridge and tbf are needed. `R` is the time of the last node over the fluid limit, computed
with the goodput that one plain TCP stream reaches over the same links in the same run; `A` is what the origin's access
log says it sent, over the bytes of the model.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from modeldist.bench.machine import QUIET
from modeldist.bench.options import count, folder
from tests.netlab import cross_check, host, namespaces
from tests.netlab.campaign import campaign
from tests.netlab.document import write_document
from tests.netlab.figures import MODELDIST
from tests.netlab.namespaces import LabError
from tests.netlab.record import Record, all_met, keep, record_of
from tests.netlab.rivals.catalogue import RIVALS
from tests.netlab.scenarios import MEASURED, SCENARIOS
from tests.netlab.table import table
from tests.netlab.topology import CONGESTION, MTU

DOCUMENT = Path("docs/performance.md")
RESULTS = Path("docs/measurements")


def main(arguments: list[str] | None = None) -> int:
    """0 when every contender was measured and every bar met, 1 when a bar was not, 2 when nothing can be measured."""
    options = _parser().parse_args(arguments)
    if options.list:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:<12} {scenario.says}")
        return 0
    names = options.scenario or list(cross_check.SCENARIOS if options.cross_check else MEASURED)
    if unknown := [name for name in names if name not in SCENARIOS]:
        print(f"bench: no scenario is called {unknown[0]!r}; --list shows them", file=sys.stderr)
        return 2
    if options.only_rivals and (options.cross_check or options.rivals == "none"):
        print("bench: --only-rivals without rivals leaves nothing to measure", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if why := namespaces.missing() or ("" if options.even_if_busy else _too_busy()):
        print(f"bench: {why}", file=sys.stderr)
        return 2
    try:
        measured = [_measure(name, options) for name in names]
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if options.save:
        write_document(DOCUMENT, RESULTS)
    return 0 if all(map(all_met, measured)) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.netlab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="*", help="default: all that have bars")
    parser.add_argument("--list", action="store_true", help="say which scenarios there are")
    parser.add_argument("--runs", type=count, default=3, help="of each contender [3]")
    parser.add_argument("--rivals", default="all", help="comma-separated names, `all` or `none` [all]")
    parser.add_argument("--only-rivals", action="store_true", help="leave modeldist out")
    parser.add_argument(
        "--json", type=Path, metavar="DIR", help="write everything that was measured, a file per scenario"
    )
    parser.add_argument("--charts", type=Path, metavar="DIR", help="PNG charts (needs matplotlib)")
    parser.add_argument("--save", action="store_true", help=f"keep the results in {RESULTS} and write {DOCUMENT}")
    parser.add_argument("--cross-check", action="store_true", help="compare R with the simulator's; no rivals")
    parser.add_argument("--congestion", default=CONGESTION, help=f"TCP's congestion control in the lab [{CONGESTION}]")
    parser.add_argument("--mtu", type=int, default=MTU, help=f"bytes in a frame [{MTU}]")
    parser.add_argument("--even-if-busy", action="store_true", help="measure although something else uses the machine")
    parser.add_argument(
        "--directory",
        type=folder,
        default=Path("/dev/shm"),
        help="where origin and stores lie [/dev/shm: no disk is shared]",
    )
    return parser


def _too_busy() -> str:
    share = host.load_now()
    if share <= QUIET:
        return ""
    return f"{share:.0%} of this machine is in use by others; figures would mean nothing (--even-if-busy measures)"


def _measure(name: str, options: argparse.Namespace) -> Record:
    scenario = SCENARIOS[name]
    asked = "none" if options.cross_check else options.rivals
    chosen = {"all": list(RIVALS), "none": []}.get(asked, asked.split(","))
    if unknown := [rival for rival in chosen if rival not in RIVALS]:
        raise LabError(f"no rival is called {unknown[0]!r}; there are {', '.join(RIVALS)}")
    print(f"{scenario.name}: {scenario.says}", flush=True)
    measured = campaign(
        scenario,
        runs=options.runs,
        rivals=[RIVALS[rival] for rival in chosen],
        ours=not options.only_rivals,
        directory=options.directory,
        congestion=options.congestion,
        mtu=options.mtu,
        say=lambda line: print(line, flush=True),
    )
    record = record_of(measured)
    if options.cross_check:
        found = cross_check.compare(scenario, measured.runs[MODELDIST])
        record |= {"cross_check": found.as_dict()}
        print(found)
    print(table(record), flush=True)
    if options.json:
        keep(record, options.json / f"{name}.json", progress=True)
    if options.save:
        keep(record, RESULTS / f"netlab-{name}.json", progress=False)
    if options.charts:
        from tests.netlab.charts import draw

        for chart in draw(record, options.charts):
            print(f"  wrote {chart}")
    return record


if __name__ == "__main__":
    sys.exit(main())
