"""`modeldist top` while what it looks at is away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

from modeldist.cli.top.picture import Picture
from modeldist.cli.top.screen import Seen
from modeldist.errors import AgentError, Cancelled, ControlPlaneUnreachable
from tests.servers.cluster import MODELDIST


def test_a_look_that_fails_is_told_above_the_last_picture() -> None:
    answers = iter([AgentError("It is away.", remedy="Start\x1b it."), Picture(title="one"), AgentError("Away."), None])

    def look() -> Picture:
        answer = next(answers) or Picture(title="two")
        if isinstance(answer, AgentError):
            raise answer
        return answer

    seen = Seen(look, now=lambda: 0.0)
    first = seen.again()
    assert len(first) == 1 and first[0].endswith("failed: It is away. Start� it.")
    assert seen.again()[0] == "one"
    away = seen.again()
    assert away[0].endswith("failed: Away.") and away[3] == "one"
    assert seen.again()[0] == "two"


def test_it_goes_on_until_it_is_stopped() -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        arguments = ("top", "--server", url, "--interval", "0.2")
        environment = os.environ | {"MODELDIST_TOKEN": "token"}
        with subprocess.Popen(
            [*MODELDIST, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        ) as running:
            assert running.stdout is not None and running.stderr is not None
            looks = [line for line, _ in zip(running.stdout, range(5), strict=False) if line.strip()]
            running.send_signal(signal.SIGINT)
            assert (running.stderr.read(), running.wait()) == ("modeldist: Stopped.\n", Cancelled.exit_code)
        assert len(looks) >= 2 and all(" failed: " in look and url in look for look in looks)
        once = subprocess.run([*MODELDIST, *arguments, "--once"], env=environment, capture_output=True, text=True)
        assert once.returncode == ControlPlaneUnreachable.exit_code and url in once.stderr
