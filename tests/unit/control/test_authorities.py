"""An authority over nodes takes the place of another, and no two nodes ever mistrust each other because of it."""

from __future__ import annotations

import itertools
import random
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.control.authorities import Authorities, certificate_of
from modeldist.transfer.tls.authority import Authority, new_authority
from modeldist.transfer.tls.requests import new_request
from modeldist.transfer.tls.security import Contexts, contexts

OLD, NEW, NEWEST = (new_authority("a cluster") for _ in range(3))
DAY = 86_400.0


def test_the_steps() -> None:
    found = Authorities(OLD)
    assert found.at(1e9, DAY) == found and found.step == "" and found.trusted == certificate_of(OLD)
    found = found.rotated(NEW)
    assert (found.current, found.step, found.until) == (OLD, "coming", None)
    found = found.at(0.0, DAY)
    assert found.until is not None and DAY < found.until < 1.1 * DAY
    assert found.trusted == certificate_of(OLD) + certificate_of(NEW)
    assert found.at(found.until - 1, DAY) == found
    later = found.at(found.until, DAY)
    assert (later.current, later.step, later.trusted) == (NEW, "leaving", certificate_of(NEW) + certificate_of(OLD))
    assert b"PRIVATE" not in later.leaving, "what certifies no more is not kept"
    assert later.until is not None and later.at(later.until - 1, DAY) == later
    assert later.at(later.until, DAY) == Authorities(NEW)


def test_one_after_the_other() -> None:
    coming = Authorities(OLD).rotated(NEW)
    leaving = Authorities(NEW, leaving=certificate_of(OLD), until=1.0)
    for found in (coming, leaving):
        with pytest.raises(ValueError, match="another authority is"):
            found.rotated(NEWEST)
    assert "PRIVATE" not in repr(coming)


@dataclass
class _Node:
    """What it was given last, and when."""

    issuer: bytes
    trusted: bytes
    since: float


@given(st.integers(0, 1 << 30))
def test_nodes_that_renew_in_time_trust_each_other_at_every_moment(seed: int) -> None:
    """Each at its own time, some at the last moment, and a control plane that is away now and then."""
    rng = random.Random(seed)
    found, now, begun = Authorities(OLD), 0.0, rng.uniform(0, DAY)
    nodes = [_Node(certificate_of(OLD), found.trusted, -rng.uniform(0, 0.9 * DAY)) for _ in range(4)]
    latest = [rng.uniform(0.5, 0.95) for _ in nodes]
    while now < 6 * DAY:
        now += rng.uniform(0, 0.02 * DAY)
        if now >= begun:
            found, begun = found.rotated(NEW), float("inf")
        if rng.random() < 0.8:
            found = found.at(now, DAY)
        for node, share in zip(nodes, latest, strict=True):
            if now - node.since >= share * DAY:
                node.issuer, node.trusted, node.since = certificate_of(found.current), found.trusted, now
        for one, other in itertools.permutations(nodes, 2):
            assert one.issuer in other.trusted
    assert found == Authorities(NEW)


def test_a_node_takes_certificates_of_both(tmp_path: Path) -> None:
    found = Authorities(OLD, coming=NEW)
    of = {name: _contexts(tmp_path / name, pem, found.trusted) for name, pem in (("old", OLD), ("new", NEW))}
    for child, parent in itertools.product(of.values(), repeat=2):
        _shake_hands(child.child, parent.parent)
    alone = _contexts(tmp_path / "alone", NEW, certificate_of(NEW))
    with pytest.raises(ssl.SSLError):
        _shake_hands(alone.child, of["old"].parent)


def _contexts(folder: Path, pem: bytes, trusted: bytes) -> Contexts:
    folder.mkdir()
    key, request = new_request()
    (folder / "node.pem").write_bytes(key + Authority(pem, time.time).certify(request.decode(), folder.name, 600.0))
    (folder / "authority.pem").write_bytes(trusted)
    return contexts(folder / "node.pem", folder / "authority.pem")


def _shake_hands(child: ssl.SSLContext, parent: ssl.SSLContext) -> None:
    to_parent, to_child = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [child.wrap_bio(to_child, to_parent), parent.wrap_bio(to_parent, to_child, server_side=True)]
    done = set()
    for end in ends * 4:
        try:
            end.do_handshake()
            done.add(end)
        except ssl.SSLWantReadError:
            continue
    assert len(done) == 2
