"""The journal's format: whatever a crash makes of the file, only records that were written come out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldist.agent.store.journal import RECORD_SIZE, Header, Journal, encode_record, parse
from modeldist.artifact import Digest

HEADER = Header(Digest("sha256:" + "ab" * 32), 1000, 10)
BLAKE3 = st.binary(min_size=32, max_size=32)
PIECES = st.dictionaries(st.integers(0, 99), BLAKE3, max_size=20)


def written(pieces: dict[int, bytes], header: Header = HEADER) -> bytes:
    return header.encode() + b"".join(encode_record(header, piece, blake3) for piece, blake3 in pieces.items())


@given(pieces=PIECES)
def test_what_was_written_is_read(pieces: dict[int, bytes]) -> None:
    found = parse(written(pieces))
    assert found is not None
    assert found.header == HEADER
    assert found.pieces == pieces
    assert found.whole


@given(pieces=PIECES, lost=st.integers(1, RECORD_SIZE - 1))
def test_torn_tail_costs_one_record(pieces: dict[int, bytes], lost: int) -> None:
    pieces[50] = bytes(32)
    order = list(pieces)
    found = parse(written(pieces)[:-lost])
    assert found is not None
    assert list(found.pieces) == order[:-1]
    assert not found.whole


@given(pieces=PIECES, data=st.data())
def test_damage_never_makes_up_a_record(pieces: dict[int, bytes], data: st.DataObject) -> None:
    whole = bytearray(written(pieces))
    start = data.draw(st.integers(0, len(whole) - 1))
    hole = data.draw(st.binary(min_size=1, max_size=100))
    whole[start : start + len(hole)] = hole[: len(whole) - start]
    found = parse(bytes(whole))
    assert found is None or found.pieces.items() <= pieces.items()


@given(noise=st.binary(max_size=300))
def test_noise_is_no_journal(noise: bytes) -> None:
    assert parse(noise) is None


def test_records_of_another_header_are_skipped() -> None:
    other = Header(HEADER.digest, HEADER.size, 20)
    found = parse(HEADER.encode() + encode_record(other, 1, bytes(32)) + encode_record(HEADER, 2, bytes(32)))
    assert found is not None
    assert list(found.pieces) == [2]


def test_pieces_beyond_the_shard_are_skipped() -> None:
    found = parse(HEADER.encode() + encode_record(HEADER, 100, bytes(32)))
    assert found is not None
    assert not found.pieces


def test_later_record_of_a_piece_wins() -> None:
    found = parse(HEADER.encode() + encode_record(HEADER, 1, b"a" * 32) + encode_record(HEADER, 1, b"b" * 32))
    assert found is not None
    assert found.pieces == {1: b"b" * 32}


@given(first=PIECES, then=PIECES)
def test_file_holds_what_was_rewritten_and_appended(
    tmp_path_factory: pytest.TempPathFactory, first: dict[int, bytes], then: dict[int, bytes]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    journal = Journal(path, HEADER)
    journal.rewrite(HEADER, first)
    for piece, blake3 in then.items():
        journal.append(piece, blake3)
    journal.close()
    found = parse(path.read_bytes()) if path.exists() else None
    assert (found.pieces if found else {}) == first | then


def test_journal_without_pieces_has_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", HEADER)
    journal.append(1, bytes(32))
    journal.rewrite(HEADER, {})
    assert not (tmp_path / "journal").exists()
    journal.append(2, bytes(32))
    journal.close()
    found = parse((tmp_path / "journal").read_bytes())
    assert found is not None
    assert list(found.pieces) == [2]
