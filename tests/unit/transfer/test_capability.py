"""A capability opens one shard to one child for a while, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.artifact import Digest
from modeldist.transfer.capability import SKEW, CapabilityChecker, CapabilityIssuer, new_private_key

SHARD = Digest("sha256:" + "a" * 64)
OTHER = Digest("sha256:" + "b" * 64)
KEY = bytes(range(32))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(clock: Clock) -> CapabilityIssuer:
    return CapabilityIssuer(KEY, clock)


@pytest.fixture
def checker(issuer: CapabilityIssuer, clock: Clock) -> CapabilityChecker:
    return CapabilityChecker(issuer.public_key, clock)


def test_it_opens_its_shard_to_its_child(issuer: CapabilityIssuer, checker: CapabilityChecker) -> None:
    token = issuer.issue(SHARD, "node-1", 600)
    assert checker(token, "node-1", SHARD)
    assert checker(token, "node-1", SHARD), "also from memory"


@pytest.mark.parametrize(("child", "shard"), [("node-2", SHARD), ("node-1", OTHER), ("", SHARD), ("node-1é", SHARD)])
def test_no_other_child_and_no_other_shard(
    issuer: CapabilityIssuer, checker: CapabilityChecker, child: str, shard: Digest
) -> None:
    token = issuer.issue(SHARD, "node-1", 600)
    assert checker(token, "node-1", SHARD)
    assert not checker(token, child, shard)


def test_it_expires_after_its_lifetime_and_the_clocks_skew(
    issuer: CapabilityIssuer, checker: CapabilityChecker, clock: Clock
) -> None:
    token = issuer.issue(SHARD, "node-1", 600)
    clock.now += 600 + SKEW
    assert checker(token, "node-1", SHARD)
    clock.now += 0.1
    assert not checker(token, "node-1", SHARD), "a remembered token expires too"


def test_another_key_signs_nothing_here(checker: CapabilityChecker, clock: Clock) -> None:
    stranger = CapabilityIssuer(new_private_key(), clock)
    assert not checker(stranger.issue(SHARD, "node-1", 600), "node-1", SHARD)


@given(position=st.integers(0, 200), flip=st.integers(1, 255))
def test_no_byte_of_it_can_change(position: int, flip: int) -> None:
    clock = Clock()
    issuer = CapabilityIssuer(KEY, clock)
    token = bytearray(issuer.issue(SHARD, "node-1", 600))
    token[position % len(token)] ^= flip
    assert not CapabilityChecker(issuer.public_key, clock)(bytes(token), "node-1", SHARD)


@given(st.binary(max_size=300))
def test_garbage_opens_nothing(garbage: bytes) -> None:
    clock = Clock()
    assert not CapabilityChecker(CapabilityIssuer(KEY, clock).public_key, clock)(garbage, "node-1", SHARD)


def test_a_signed_payload_of_another_shape_or_size_opens_nothing(checker: CapabilityChecker, clock: Clock) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(KEY)
    purpose = b"modeldist capability 1\0"
    for payload in (b"\xc1", b"\x90", b"\x94\xa1\xff\xa1a\xcb" + b"\0" * 8 + b"\xc4\0"):
        assert not checker(payload + key.sign(purpose + payload), "node-1", SHARD)
    token = CapabilityIssuer(KEY, clock).issue(SHARD, "node-1", 600)
    assert not checker(token[:-64] + key.sign(token[:-64]), "node-1", SHARD), "a signature for another purpose"
    assert not checker(b"\0" * 5000, "node-1", SHARD)


def test_a_token_that_names_another_key_opens_nothing(checker: CapabilityChecker, clock: Clock) -> None:
    import msgspec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    payload = msgspec.msgpack.encode([SHARD, "node-1", clock() + 60, b"otherkey"])
    signature = Ed25519PrivateKey.from_private_bytes(KEY).sign(b"modeldist capability 1\0" + payload)
    assert not checker(payload + signature, "node-1", SHARD)


def test_it_goes_on_working_when_more_tokens_come_than_are_remembered(
    issuer: CapabilityIssuer, checker: CapabilityChecker
) -> None:
    first = issuer.issue(SHARD, "node-0", 600)
    assert checker(first, "node-0", SHARD)
    for index in range(1, 4200):
        assert checker(issuer.issue(SHARD, f"node-{index}", 600), f"node-{index}", SHARD)
    assert checker(first, "node-0", SHARD)


def test_keys_of_the_wrong_size() -> None:
    with pytest.raises(ValueError, match="32"):
        CapabilityIssuer(b"short", Clock())
    with pytest.raises(ValueError, match="32"):
        CapabilityChecker(b"short", Clock())
