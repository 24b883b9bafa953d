"""What the hub said of who may read, kept over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldist.gateway.hub.kept import LIFE, KeptAdmissions

COMMIT = "c" * 40
READER = "Bearer hf_" + "Ab3" * 10


class Clock:
    time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


def kept_at(path: Path, clock: Clock) -> KeptAdmissions:
    return KeptAdmissions(path / "kept.json", clock)


@pytest.mark.parametrize("reader", ["", READER])
def test_it_is_known_for_a_day_and_to_the_same_alone(tmp_path: Path, reader: str) -> None:
    clock = Clock()
    before = kept_at(tmp_path, clock)
    before.put("org/model", "main", reader, COMMIT, reads=True)
    before.write()
    after = kept_at(tmp_path, clock)
    said = after.get("org/model", "main", reader)
    assert said is not None
    assert (said.commit, said.reads) == (COMMIT, True)
    other = "" if reader else READER
    assert after.get("org/model", "main", other) is None
    assert after.get("org/other", "main", reader) is None
    assert after.get("org/model", "v1", reader) is None
    clock.time += LIFE
    assert after.get("org/model", "main", reader) is None
    clock.time -= 2 * LIFE  # a clock that was set back
    assert after.get("org/model", "main", reader) is None


def test_a_refusal_takes_it_away_from_all_revisions(tmp_path: Path) -> None:
    kept = kept_at(tmp_path, Clock())
    for revision in ("main", COMMIT):
        kept.put("org/model", revision, READER, COMMIT, reads=True)
    kept.put("org/model", "main", "", COMMIT, reads=True)
    kept.write()
    kept.forget("org/model", READER)
    kept.write()
    again = kept_at(tmp_path, Clock())
    assert [again.get("org/model", revision, READER) for revision in ("main", COMMIT)] == [None, None]
    assert again.get("org/model", "main", "") is not None


@pytest.mark.parametrize("authorization", ["Bearer user:password", "Basic dXNlcjpwYXNzd29yZA==", "Bearer hf_short"])
def test_what_could_be_guessed_is_not_kept(tmp_path: Path, authorization: str) -> None:
    kept = kept_at(tmp_path, Clock())
    assert not kept.put("org/model", "main", authorization, COMMIT, reads=True)
    assert kept.get("org/model", "main", authorization) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": "AA==", "said": {"a": 1}}'])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kept.json").write_bytes(content)
    kept = kept_at(tmp_path, Clock())
    assert kept.put("org/model", "main", "", COMMIT, reads=True)
    kept.write()
    assert kept_at(tmp_path, Clock()).get("org/model", "main", "") is not None


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    kept = KeptAdmissions(tmp_path / "absent" / "kept.json", Clock())
    kept.put("org/model", "main", "", COMMIT, reads=True)
    kept.write()
    assert kept.get("org/model", "main", "") is not None
