"""Keys that commands are given: read from files, with a password from the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.errors import InvalidPolicy

if TYPE_CHECKING:
    from modelpack.trust.keys import PrivateKey, PublicKey


def password() -> bytes:
    """Of the private key; empty: it has none. COSIGN_PASSWORD is what cosign's users have set."""
    return os.environb.get(b"MODELDIST_KEY_PASSWORD") or os.environb.get(b"COSIGN_PASSWORD") or b""


def private_key(path: Path) -> PrivateKey:
    """Raises InvalidPolicy, and modelpack's InvalidKey."""
    from modelpack.trust.keys import load_private_key

    return load_private_key(_read(path), password(), str(path))


def public_key(path: Path) -> PublicKey:
    """Raises InvalidPolicy, and modelpack's InvalidKey."""
    from modelpack.trust.keys import load_public_key

    return load_public_key(_read(path), str(path))


def _read(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise InvalidPolicy(f"The key {path} cannot be read: {error.strerror}.", remedy="Correct the path.") from None
