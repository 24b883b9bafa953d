"""First start: the state directory, and the tokens that open a fresh control plane."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from modeldist.control.store.tokens import Scope, Tokens
from modeldist.file_failures import of_a_file
from modeldist.foreign_hands import others_who_may_write

log = logging.getLogger(__name__)

TOKEN_FILES: dict[Scope, str] = {"admin": "admin.token", "agent": "agent.token"}


def prepare_state_dir(path: Path) -> None:
    """Create it, for its owner alone. Raises StorageError. One that is there may be a volume whose mode its user cannot
    change, so that everybody may write to it is said and no reason to refuse."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable", str(path))
        others = others_who_may_write(path)
    except OSError as error:
        raise of_a_file(
            error,
            f"The state directory {path} cannot be used: {error.strerror}.",
            forbidden="Give its user write access, or set another with MODELDIST_SERVER_STATE_DIR.",
            otherwise="Check its path and the disk under it, or set another with MODELDIST_SERVER_STATE_DIR.",
        ) from error
    if others:
        log.warning("%s may write to %s, and put tokens of their own there: chown, chmod o-w", others, path)


async def first_tokens(tokens: Tokens, state_dir: Path) -> list[Path]:
    """Create an admin and an agent token when there is none at all; the files they were written to (mode 0600)."""
    if await tokens.count():
        return []
    written = []
    for scope, name in TOKEN_FILES.items():
        path = state_dir / name
        _write_secret(path, await tokens.create(f"first {scope}", scope))
        log.info("wrote a new token: %s", path)
        written.append(path)
    return written


def _write_secret(path: Path, secret: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
