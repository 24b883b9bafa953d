"""Reading and replacing `config.json`: unknown fields stay, a crash leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from modelpack.errors import RegistryUnauthorized


def read_config(file: Path) -> dict[str, Any]:
    """The file's object, empty when there is no file. Raises RegistryUnauthorized when it cannot be read."""
    try:
        config: dict[str, Any] = json.loads(file.read_bytes() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _unreadable(file, error.strerror or "it cannot be read") from None
    except (ValueError, RecursionError):  # the parser's own message would quote the file
        raise _unreadable(file, "it is not JSON") from None
    if not _has_shape(config):
        raise _unreadable(file, "it has not the shape of Docker's config.json")
    return config


def write_config(file: Path, config: dict[str, Any]) -> None:
    """Replace the file atomically, readable by its owner alone. Raises RegistryUnauthorized when it cannot be."""
    target = Path(os.path.realpath(file))  # a linked file stays a link
    temporary = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # made with mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(config, out, indent="\t")
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise RegistryUnauthorized(
            f"The credentials file {file} cannot be written: {error.strerror}.",
            remedy="Make its directory writable, or name another file with DOCKER_CONFIG or REGISTRY_AUTH_FILE.",
        ) from None


def _has_shape(config: object) -> bool:
    if not isinstance(config, dict) or not isinstance(config.get("credsStore", ""), str):
        return False
    auths, helpers = config.get("auths", {}), config.get("credHelpers", {})
    if not isinstance(auths, dict) or not isinstance(helpers, dict):
        return False
    return all(isinstance(helper, str) for helper in helpers.values())


def _unreadable(file: Path, problem: str) -> RegistryUnauthorized:
    return RegistryUnauthorized(
        f"The credentials file {file} is of no use: {problem}.",
        remedy="Correct it, remove it, or name another with DOCKER_CONFIG or REGISTRY_AUTH_FILE.",
    )
