"""Finding pyverbs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ASK = """
from rdma import NoVerbs
from rdma.verbs.library import library
try:
    library()
except NoVerbs as problem:
    print(problem, problem.remedy)
"""


def test_a_pyverbs_that_does_not_load_is_explained(tmp_path: Path) -> None:
    (tmp_path / "pyverbs").mkdir()
    (tmp_path / "pyverbs" / "__init__.py").touch()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    assert "pyverbs does not load: No module named 'pyverbs.enums'." in done.stdout
    assert "libibverbs" in done.stdout
