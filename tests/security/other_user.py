"""Asking the agent's unix socket as another user of the machine. Needs root."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

NOBODY = 65534

ASKING = """
import json, os, socket, sys
path, user, routes = json.loads(sys.argv[1])
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
said = {}
for method, route in routes:
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(path)
            asking.sendall(f"{method} {route} HTTP/1.1\\r\\nHost: agent\\r\\nConnection: close\\r\\n\\r\\n".encode())
            said[f"{method} {route}"] = asking.recv(12).decode()
        except PermissionError as error:
            said[f"{method} {route}"] = type(error).__name__
print(json.dumps(said))
"""


def ask(path: Path, user: int, asked: list[tuple[str, str]]) -> dict[str, str]:
    given = json.dumps([str(path), user, asked])
    done = subprocess.run([sys.executable, "-c", ASKING, given], capture_output=True, text=True, check=True, timeout=60)
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


# Three users: whose the directory is, who listens in it, who asks.
LISTENING = """
import os, socket, sys
from pathlib import Path
from modeldist.agent.local_client import LocalAgent
from modeldist.errors import AgentError
path, listens, asks = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
read, write = os.pipe()
if not (child := os.fork()):
    os.setuid(listens)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen()
    os.write(write, b"x")
    connection, _ = listener.accept()
    if connection.recv(65536):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n[]")
    os._exit(0)
os.read(read, 1)
if asks:
    os.setuid(asks)
try:
    print(LocalAgent(path).pulls())
except AgentError as error:
    print(error)
os.waitpid(child, 0) if os.geteuid() == 0 else None
"""


def ask_one_of(path: Path, listens: int, asks: int) -> str:
    """What the client of an agent says as one user where another one listens."""
    given = [str(path), str(listens), str(asks)]
    done = subprocess.run([sys.executable, "-c", LISTENING, *given], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
