"""`cosign.key`: PKCS #8 in a NaCl secretbox whose key scrypt derives from the password (`cosign generate-key-pair`)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

from modelpack.document import read_object
from modelpack.errors import InvalidKey

_BLOCK = re.compile(
    rb"-----BEGIN ENCRYPTED (SIGSTORE|COSIGN) PRIVATE KEY-----(.*?)-----END ENCRYPTED \1 PRIVATE KEY-----", re.DOTALL
)
_MAX_N = 1 << 20  # scrypt's cost; cosign writes 32,768 or 65,536, and this much takes 1 GiB
_MAX_R_P = 16


def is_cosign_key(pem: bytes) -> bool:
    return _BLOCK.search(pem) is not None


def open_cosign_key(pem: bytes, password: bytes, what: str) -> bytes:
    """The PKCS #8 inside, as DER. Raises InvalidKey when it is malformed, the password is another, or PyNaCl (of the
    extra `trust`) is not there."""
    try:
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox
    except ImportError:
        raise InvalidKey(
            f"{what} is in cosign's own format, which needs PyNaCl.",
            remedy="Install the extra: pip install '.[trust]' in a checkout. Or convert the key to PKCS #8.",
        ) from None
    found = _BLOCK.search(pem)
    assert found is not None
    try:
        raw = base64.b64decode(b"".join(found[2].split()), validate=True)
        document = read_object(raw, limit=64 * 1024, what="key", error=InvalidKey)
        derived, nonce, sealed = _parts(document, password)
    except (InvalidKey, binascii.Error, ValueError, KeyError, TypeError, MemoryError):
        raise InvalidKey(f"{what} is a malformed cosign key.", remedy="Make one with `modeldist keygen`.") from None
    try:
        return bytes(SecretBox(derived).decrypt(sealed, nonce))
    except (CryptoError, ValueError):
        raise InvalidKey(
            f"{what} does not open with this password.",
            remedy="Put its password into MODELDIST_KEY_PASSWORD or COSIGN_PASSWORD.",
        ) from None


def _parts(document: dict[str, Any], password: bytes) -> tuple[bytes, bytes, bytes]:
    """(secretbox key, nonce, ciphertext)."""
    kdf, cipher = document["kdf"], document["cipher"]
    n, r, p = (kdf["params"][name] for name in ("N", "r", "p"))
    known = kdf["name"] == "scrypt" and cipher["name"] == "nacl/secretbox"
    if not known or not 1 < n <= _MAX_N or not 0 < r <= _MAX_R_P or not 0 < p <= _MAX_R_P:
        raise ValueError(kdf["name"])
    salt = base64.b64decode(kdf["salt"], validate=True)
    derived = hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)
    nonce, sealed = (base64.b64decode(text, validate=True) for text in (cipher["nonce"], document["ciphertext"]))
    return derived, nonce, sealed
