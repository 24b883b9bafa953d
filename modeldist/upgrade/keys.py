"""Whose releases are taken."""

from __future__ import annotations

from pathlib import Path

from modeldist.errors import InvalidPolicy
from modelpack.errors import InvalidKey
from modelpack.trust.keys import PublicKey, load_public_key


def release_keys(path: Path | None) -> tuple[PublicKey, ...]:
    """The key in a file; without one, none: nobody's. Raises InvalidPolicy."""
    if path is None:
        return ()
    try:
        return (load_public_key(path.expanduser().read_bytes(), str(path)),)
    except OSError as error:
        raise InvalidPolicy(
            f"The release key {path} cannot be read: {error.strerror}.", remedy="Correct --release-key."
        ) from None
    except InvalidKey as error:
        raise InvalidPolicy(error.message, remedy=error.remedy) from None
