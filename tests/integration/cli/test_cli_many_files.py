"""A model of more files than this process may have open at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers.cluster import MODELDIST
from tests.servers.shell import Shell


def test_many_files_with_few_descriptors(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for index in range(400):
        (model / f"part-{index}.json").write_text(f"{{{index}}}")
    shell = Shell(tmp_path)
    command = ["bash", "-c", 'ulimit -n 200; exec "$@"', "bash", *MODELDIST, "pull", f"file://{model}"]
    done = subprocess.run(command, env=shell.environment, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    (path,) = done.stdout.splitlines()
    assert {file.name: file.read_text() for file in Path(path).iterdir()} == {
        file.name: file.read_text() for file in model.iterdir()
    }
