"""Keys in PEM files: ECDSA P-256 to sign with; to verify with also P-384, P-521, Ed25519 and RSA."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature as WrongSignature
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from modelpack.errors import InvalidKey

MAX_KEY_BYTES = 64 * 1024  # of a PEM file
_LEAST_RSA = 2048  # bits; below, sigstore and NIST SP 800-131A refuse
_OWN_HASH: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_PEM = "A public key is PEM: -----BEGIN PUBLIC KEY-----."

Verifies = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`name` is what messages call it: a path, or its fingerprint."""

    name: str
    key: Verifies = field(repr=False)

    @property
    def der(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def fingerprint(self) -> str:
        """`sha256:` over the key as DER."""
        return "sha256:" + hashlib.sha256(self.der).hexdigest()

    def pem(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether this key signed `data`. A curve's own hash and SHA-256 are tried: writers differ."""
        try:
            if isinstance(self.key, ed25519.Ed25519PublicKey):
                self.key.verify(signature, data)
                return True
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
                return True
        except WrongSignature:
            return False
        return any(self._by_curve(self.key, signature, data, how) for how in self._hashes(self.key))

    @staticmethod
    def _hashes(key: ec.EllipticCurvePublicKey) -> tuple[hashes.HashAlgorithm, ...]:
        own = _OWN_HASH[key.curve.name]
        return (own,) if isinstance(own, hashes.SHA256) else (own, hashes.SHA256())

    @staticmethod
    def _by_curve(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, how: hashes.HashAlgorithm) -> bool:
        try:
            key.verify(signature, data, ec.ECDSA(how))
        except WrongSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """An ECDSA P-256 key, as cosign makes them."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def public(self) -> PublicKey:
        found = PublicKey("", self.key.public_key())
        return PublicKey(found.fingerprint, found.key)

    def sign(self, data: bytes) -> bytes:
        """ECDSA with SHA-256, DER."""
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def pem(self, password: bytes = b"") -> bytes:
        """PKCS #8, encrypted when there is a password."""
        how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def generate() -> PrivateKey:
    """A new key."""
    return PrivateKey(ec.generate_private_key(ec.SECP256R1()))


def load_public_key(pem: bytes, name: str = "") -> PublicKey:
    """A key from a PEM file, or from a certificate's. `name` is for messages. Raises InvalidKey."""
    what = name or "The text"
    if len(pem) > MAX_KEY_BYTES:
        raise InvalidKey(f"{what} has {len(pem)} bytes, which no key has.", remedy=_PEM)
    if b"PRIVATE KEY" in pem:
        raise InvalidKey(f"{what} is a private key.", remedy="Give the public one; keep this one where it is safe.")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKey(f"{what} is no public key.", remedy=_PEM) from None
    usable = (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA)
        or (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _OWN_HASH)
    )
    if not usable:
        raise InvalidKey(
            f"{what} is a key of a kind that is not used.",
            remedy=f"Used are ECDSA on P-256, P-384 or P-521, Ed25519, and RSA of {_LEAST_RSA} bits or more.",
        )
    found = PublicKey(name, key)  # type: ignore[arg-type]
    return found if name else PublicKey(found.fingerprint, found.key)


def load_private_key(pem: bytes, password: bytes = b"", name: str = "") -> PrivateKey:
    """A key to sign with: PKCS #8 or SEC 1 PEM, or cosign's own `cosign.key`. Raises InvalidKey."""
    from modelpack.trust.cosign_key import is_cosign_key, open_cosign_key

    what = name or "The text"
    if len(pem) > MAX_KEY_BYTES:
        raise InvalidKey(f"{what} has {len(pem)} bytes, which no key has.")
    try:
        if is_cosign_key(pem):
            key = serialization.load_der_private_key(open_cosign_key(pem, password, what), None)
        else:
            key = serialization.load_pem_private_key(pem, password or None)
    except TypeError:
        raise InvalidKey(
            f"{what} is {'not locked by a password' if password else 'locked by a password'}.",
            remedy="Leave the password out." if password else "Put its password into MODELDIST_KEY_PASSWORD.",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        problem = "is no private key, or its password is another one" if password else "is no private key"
        raise InvalidKey(f"{what} {problem}.", remedy="Make one with `modeldist keygen`.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise InvalidKey(f"{what} is no ECDSA key on P-256.", remedy="Make one with `modeldist keygen`.")
    return PrivateKey(key)
