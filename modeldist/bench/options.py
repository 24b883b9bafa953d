"""What benchmarks that move files have for options."""

from __future__ import annotations

import argparse
from pathlib import Path


def file_options(name: str, about: str | None) -> argparse.ArgumentParser:
    """Options that all of them have; the sizes are their own."""
    parser = argparse.ArgumentParser(prog=f"python -m modeldist.bench {name}", description=about)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where files are made; default: a temporary directory")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    return parser
