"""A machine of its own for what docs/deploy.md has root paste: `python -m tests.package.systemd_machine ROOM`.

It is to be started in namespaces of its own (ALONE, of package_systemd.py). What is written below /etc, /opt, /run,
/usr/lib/sysusers.d and /var/lib goes into memory and with the process. The programs are real but two: `systemctl`
(systemctl.py beside this file), and a `python3` whose new environments find here what pip would fetch. ROOM is a copy
of the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.documentation import page

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "deploy.md"
BY = "make test-package"
WRITTEN = ("/etc", "/opt", "/run", "/usr/lib/sysusers.d", "/var/lib")
PYTHON3 = """#!/bin/sh
{python} "$@" || exit
[ "$1 $2" != "-m venv" ] || echo {packages} > "$(echo "$3"/lib/python3.*/site-packages)/here.pth"
"""


def cover(memory: Path) -> None:
    """Have all that is written there go into memory."""
    memory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(memory)], check=True)
    for number, place in enumerate(WRITTEN):
        upper, work = (memory / f"{kind}-{number}" for kind in ("upper", "work"))
        for directory in (upper, work, Path(place)):
            directory.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={place},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, place], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def programs(folder: Path) -> Path:
    """What goes in front of the PATH."""
    folder.mkdir()
    words = f"{sys.executable} -P -m tests.package.systemctl"
    packages = sysconfig.get_path("purelib")
    for name, script in {
        "systemctl": f'#!/bin/sh\nPYTHONPATH={ROOT} exec {words} "$@"\n',
        "python3": PYTHON3.format(python=sys.executable, packages=packages),
    }.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return folder


def main(room: Path) -> None:
    cover(room.with_name("memory"))
    settings = room / "deploy" / "systemd" / "agent.env"  # with the addresses of this machine
    text = settings.read_text().replace("https://control.example:7420", "http://127.0.0.1:7420")
    settings.write_text(text.replace("10.0.0.7", "127.0.0.1"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELDIST_", "PYTHON"))}
    environment = kept | {
        "PATH": os.pathsep.join((str(programs(room.with_name("bin"))), os.environ["PATH"])),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # which is how pip is told by its environment to have none
    }
    pasted = page.run(PAGE, page.examples(page.run_by(PAGE.read_text(), BY), BY), room, {}, environment)
    assert pasted > 7
    asked = ["/opt/modeldist/bin/modeldist", "status", "--ready", "--socket", "/run/modeldist/agent.sock"]
    subprocess.run(asked, check=True)
    assert shutil.which("modeldist", path="/usr/local/bin:/usr/bin:/bin") is None, "of the machine, not of the page"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
