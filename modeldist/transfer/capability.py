"""Capabilities: the control plane's short-lived, signed word that one child may read one shard.

A token is a msgpack array [shard, child, not_after, key id] followed by the 64 bytes of its Ed25519 signature. Any
parent checks it with the control plane's public key alone. What it does not do: prove the child's name. Behind TLS the
child's certificate does (`transfer.tls`); in the clear nothing but the hello says it, so whoever copies a token and
claims that name can use it until it expires.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from modeldist.artifact import Digest

SKEW = 30.0  # seconds that the checker's time may be ahead of the issuer's
_SIGNATURE = 64
_PURPOSE = b"modeldist capability 1\0"  # so that the key's signatures over other things are none of these
_REMEMBERED = 4096
_LONGEST = 4096

Clock = Callable[[], float]
"""Seconds of the issuer's time (`cluster_time.py`)."""


class _Grant(msgspec.Struct, frozen=True, array_like=True):
    shard: Annotated[str, Meta(max_length=200)]
    child: Annotated[str, Meta(max_length=255)]
    not_after: float
    key_id: Annotated[bytes, Meta(max_length=8)]


def new_private_key() -> bytes:
    """A fresh Ed25519 private key, 32 raw bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes_raw()


def _key_id(public_key: bytes) -> bytes:
    return hashlib.sha256(public_key).digest()[:8]


class CapabilityIssuer:
    """Held by the control plane. `private_key` is 32 raw bytes (ValueError otherwise)."""

    def __init__(self, private_key: bytes, clock: Clock) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        self._clock = clock
        self.public_key: bytes = self._key.public_key().public_bytes_raw()

    def now(self) -> float:
        """The time in which what it issues expires; checkers have to learn it."""
        return self._clock()

    def issue(self, shard: Digest, node: str, lifetime: float) -> bytes:
        """`node` may read `shard` for `lifetime` seconds from now."""
        grant = _Grant(shard, node, self._clock() + lifetime, _key_id(self.public_key))
        payload = msgspec.msgpack.encode(grant)
        return payload + self._key.sign(_PURPOSE + payload)


class CapabilityChecker:
    """Held by every node that serves; a CheckCapability. `public_key` is 32 raw bytes (ValueError otherwise).

    Called per request from many threads: a token whose signature held is remembered, its expiry looked at every time.
    """

    def __init__(self, public_key: bytes, clock: Clock) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        self._key = Ed25519PublicKey.from_public_bytes(public_key)
        self._key_id = _key_id(public_key)
        self._clock = clock
        self._lock = threading.Lock()
        self._verified: OrderedDict[bytes, _Grant] = OrderedDict()

    def __call__(self, capability: bytes, child: str, shard: Digest) -> bool:
        """May `child` read `shard` with this token, now? Never raises."""
        grant = self._remembered(capability) or self._verify(capability)
        return (
            grant is not None
            and hmac.compare_digest(grant.child.encode(), child.encode())
            and hmac.compare_digest(grant.shard.encode(), shard.encode())
            and self._clock() <= grant.not_after + SKEW
        )

    def _remembered(self, capability: bytes) -> _Grant | None:
        with self._lock:
            grant = self._verified.get(capability)
            if grant is not None:
                self._verified.move_to_end(capability)
            return grant

    def _verify(self, capability: bytes) -> _Grant | None:
        from cryptography.exceptions import InvalidSignature

        payload, signature = capability[:-_SIGNATURE], capability[-_SIGNATURE:]
        if not payload or len(capability) > _LONGEST:
            return None
        try:
            self._key.verify(signature, _PURPOSE + payload)
            grant = msgspec.msgpack.decode(payload, type=_Grant)
        except (InvalidSignature, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if grant.key_id != self._key_id:
            return None
        with self._lock:
            self._verified[capability] = grant
            if len(self._verified) > _REMEMBERED:
                self._verified.popitem(last=False)
        return grant
