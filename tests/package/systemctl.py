"""`systemctl` where no systemd runs: `daemon-reload` has systemd-analyze look at the units that were installed, and
`enable --now` starts one with the files, directories, credentials and variables that it names, if its user is there,
and returns when it is ready. Root runs it, without the sandbox."""

from __future__ import annotations

import pwd
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.deploy import told
from tests.deploy.test_systemd import unit

UNITS = Path("/etc/systemd/system")
PLACES = {"StateDirectory": "/var/lib", "RuntimeDirectory": "/run"}
PROGRAM = "/opt/modeldist/bin/modeldist"
READY = {  # what each is asked
    "modeldist-server": ["curl", "--fail", "--silent", "http://127.0.0.1:7420/readyz"],
    "modeldist-agent": [PROGRAM, "status", "--ready", "--socket", "/run/modeldist/agent.sock"],
}
PATIENCE = 60.0  # seconds


def reload() -> None:
    for path in sorted(UNITS.glob("modeldist-*.service")):
        words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode or "modeldist" in done.stderr:
            sys.exit(done.stderr)


def start(name: str) -> None:
    path = UNITS / f"{name}.service"
    if not path.exists():
        sys.exit(f"Failed to enable unit: Unit file {path.name} does not exist.")
    directives = unit(path)
    if directives.get("DynamicUser") != ["yes"]:
        pwd.getpwnam(directives["User"][0])
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **_files(name, directives)}
    (command,) = directives["ExecStart"]
    words = [told.substituted(word, environment, "braces") for word in command.split()]
    log = Path(f"/run/{name}.log")
    with log.open("wb") as said:
        process = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
    deadline = time.monotonic() + PATIENCE
    while subprocess.run(READY[name], capture_output=True, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{name} is not ready:\n{log.read_text()}")
        time.sleep(0.1)


def _files(name: str, directives: dict[str, list[str]]) -> dict[str, str]:
    """Make what the unit is given, and what tells it where."""
    credentials = Path("/run/credentials") / name
    credentials.mkdir(parents=True, exist_ok=True)
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    for directive, above in PLACES.items():
        for each in directives.get(directive, ()):
            place = Path(above) / each
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(int(directives[f"{directive}Mode"][0], 8))
            variable = f"{directive.removesuffix('Directory').upper()}_DIRECTORY"
            environment[variable] = str(place)
    for line in directives.get("LoadCredential", ()):
        called, _, source = line.partition(":")
        shutil.copyfile(source, credentials / called)
    for line in directives["Environment"]:
        words = shlex.split(line.replace("%d", str(credentials)).replace("%S", "/var/lib"))
        environment |= dict(word.split("=", 1) for word in words)
    for line in directives["EnvironmentFile"]:
        file = Path(line.removeprefix("-"))
        if not file.exists():
            continue
        for text in file.read_text().splitlines():
            if text and not text.startswith("#"):
                key, _, value = text.partition("=")
                environment[key] = value
    return environment


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["daemon-reload"]:
            reload()
        case ["enable", "--now", name]:
            start(name)
        case words:
            sys.exit(f"systemctl {words} is not known here")
