"""What is logged for people: one line a record, whatever agents and origins are called or say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LOGS = """
import logging, sys
from modeldist.control.logs import configure_logging
from modeldist.logger import Logger, about
configure_logging(sys.argv[1], "info")
said = "it failed\\n2026-01-01T00:00:00Z [info     ] all is well\\x1b[2J\\u202e"
logging.getLogger("modeldist.control").warning("rollout r: %s", said)
with about(reference=said):
    Logger("modeldist.agent").warning("pull ended", error=said, parts=[said], lone="\\udc80")
try:
    raise ValueError(said)
except ValueError:
    logging.getLogger("modeldist.control").exception("looking failed")
"""


def logged(form: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", LOGS, form], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.removesuffix("\n").split("\n")


def test_no_record_begins_another_or_drives_a_terminal() -> None:
    lines = logged("console")
    records = [line for line in lines if not line.startswith("  ")]  # the others are of a traceback
    assert len(records) == 3, lines
    assert "all is well" in records[0] and "all is well" in records[1]
    assert all(line.isprintable() for line in lines), lines
    assert any("ValueError" in line for line in lines)


def test_as_json_each_record_is_a_line() -> None:
    records = [json.loads(line) for line in logged("json")]
    assert [record["level"] for record in records] == ["warning", "warning", "error"]
    assert records[0]["event"].startswith("rollout r: it failed\n")
    assert "ValueError" in records[2]["exception"]


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_value_of_a_variable_is_in_a_traceback(form: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import logging, sys\n"
        "from modeldist.control.logs import configure_logging\n"
        "configure_logging(sys.argv[1], 'info')\n"
        "def ask(token):\n    raise OSError('away')\n"
        "try:\n    ask('md_' + 'secret')\n"
        "except OSError:\n    logging.getLogger('x').exception('failed')\n"
    )
    done = subprocess.run([sys.executable, str(program), form], capture_output=True, text=True, check=True)
    assert "away" in done.stderr
    assert "md_secret" not in done.stderr
