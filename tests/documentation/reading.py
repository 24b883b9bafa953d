"""What can be said of a snippet without running it: its grammar, and that what it names of ours exists."""

from __future__ import annotations

import ast
import json
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import import_module

import yaml

from tests.documentation.page import Block

OURS = ("modeldist", "modelpack", "rdma")


def problems(block: Block) -> Iterator[str]:
    """Sentences about what is wrong; none for a language that nobody here reads."""
    try:
        match block.language:
            case "console":
                yield from _shell("\n".join(commands(block.text)))
            case "bash" | "sh":
                yield from _shell(block.text)
            case "python":
                yield from _imports(ast.parse(block.text))
            case "yaml":
                list(yaml.safe_load_all(block.text))
            case "toml":
                tomllib.loads(block.text)
            case "json":
                json.loads(block.text)
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        yield f"{type(error).__name__}: {error}"


def commands(text: str) -> Iterator[str]:
    """The lines of a console that are typed, by a user or by root, with those that continue them."""
    typed = False
    for line in text.splitlines():
        begins = line.startswith(("$ ", "# ", "> "))
        if begins or (typed and line.startswith(" ")):
            yield line[2:] if begins else line
        typed = begins or (typed and line.startswith(" "))


def _shell(code: str) -> Iterator[str]:
    done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
    if done.returncode or not code.strip():
        yield done.stderr.strip() or "there is no command in it"


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in OURS:
                    import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            module = import_module(node.module or "")
            for alias in node.names:
                if not hasattr(module, alias.name):
                    yield f"{node.module} has no {alias.name}"
