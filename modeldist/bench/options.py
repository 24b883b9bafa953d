"""What benchmarks have for options, and which values mean something."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path


def count(text: str) -> int:
    """A whole number from 1 on. Raises ArgumentTypeError."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return value


def seconds(text: str) -> float:
    """A time above 0 that ends. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def folder(text: str) -> Path:
    """A directory in which files can be made. Raises ArgumentTypeError."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a directory; make it first")
    if not os.access(text, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text!r} is a directory in which you may not make files")
    return Path(text)


def file_options(name: str, about: str | None) -> argparse.ArgumentParser:
    """Options that all of them have; the sizes are their own."""
    parser = argparse.ArgumentParser(prog=f"python -m modeldist.bench {name}", description=about)
    parser.add_argument("--repeat", type=count, default=3)
    parser.add_argument("--directory", type=folder, help="where files are made; default: a temporary directory")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    return parser
