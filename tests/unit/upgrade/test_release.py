"""Which releases a machine takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modeldist.errors import IntegrityError, ModeldistError, Unsupported, Untrusted, UsageError
from modeldist.upgrade.release import LIST, Release, admit, make, read
from modelpack.trust.dsse import IN_TOTO, Envelope
from modelpack.trust.keys import PrivateKey, generate

NOW = 1_800_000_000.0
KEY, OTHER = generate(), generate()
WHEEL = "modeldist-0.2.0-py3-none-any.whl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / WHEEL).write_bytes(b"modeldist")
    (tmp_path / "blake3-1.0.5-cp311-abi3-manylinux_2_17_x86_64.whl").write_bytes(b"blake3")
    return tmp_path


def made(folder: Path, key: PrivateKey = KEY) -> Release:
    return make(folder, key, minimum="0.1.0", now=NOW, lifetime=100.0)


def test_what_was_signed_is_read(folder: Path) -> None:
    release = made(folder)
    assert read(folder, [OTHER.public, KEY.public]) == release
    assert (release.version, release.minimum, release.expires, len(release.wheels)) == ("0.2.0", "0.1.0", NOW + 100, 2)


@pytest.mark.parametrize("keys", [[], [OTHER.public]])
def test_a_release_of_somebody_else(folder: Path, keys: list[object]) -> None:
    made(folder)
    with pytest.raises(Untrusted, match="none of the keys"):
        read(folder, keys)  # type: ignore[arg-type]


def test_a_wheel_that_is_another_one(folder: Path) -> None:
    made(folder)
    (folder / WHEEL).write_bytes(b"modeldisT")
    with pytest.raises(IntegrityError, match="not what was signed"):
        read(folder, [KEY.public])
    (folder / WHEEL).unlink()
    with pytest.raises(IntegrityError):
        read(folder, [KEY.public])


def test_a_list_that_was_changed_is_not_signed(folder: Path) -> None:
    made(folder)
    document = json.loads((folder / LIST).read_text())
    (folder / LIST).write_text(json.dumps(document | {"payload": document["payload"][:-4] + "AAA="}))
    with pytest.raises(Untrusted):
        read(folder, [KEY.public])


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b"{" * 100_000, b'{"payloadType": 1}'])
def test_garbage_is_no_release(folder: Path, raw: bytes) -> None:
    (folder / LIST).write_bytes(raw)
    with pytest.raises(Untrusted):
        read(folder, [KEY.public])


def signed(folder: Path, payload: object, kind: str = "application/vnd.modeldist.release.v1+json") -> None:
    data = json.dumps(payload).encode()
    envelope = Envelope(kind, data, (KEY.sign(Envelope(kind, data, ()).signed),))
    (folder / LIST).write_text(json.dumps(envelope.document()))


def test_a_signature_on_something_else_is_none_on_a_release(folder: Path) -> None:
    signed(folder, {}, IN_TOTO)
    with pytest.raises(Untrusted, match="no release"):
        read(folder, [KEY.public])


@pytest.mark.parametrize("name", ["../evil-1.0-py3-none-any.whl", "/x-1.0-py3-none-any.whl", "x.tar.gz", "", "a\0.whl"])
def test_names_that_lead_elsewhere_are_refused_whoever_signed_them(folder: Path, name: str) -> None:
    wheels = [{"name": n, "size": 0, "sha256": ""} for n in (WHEEL, name)]
    signed(folder, {"version": "0.2.0", "minimum": "0", "created": 0, "expires": 0, "wheels": wheels})
    with pytest.raises(Untrusted):
        read(folder, [KEY.public])


def test_a_list_that_contradicts_itself(folder: Path) -> None:
    for version, wheels in (("0.3.0", [WHEEL]), ("0.2.0", [WHEEL, WHEEL]), ("0.2.0", [])):
        listed = [{"name": name, "size": 0, "sha256": ""} for name in wheels]
        signed(folder, {"version": version, "minimum": "0", "created": 0, "expires": 0, "wheels": listed})
        with pytest.raises(Untrusted, match="contradicts"):
            read(folder, [KEY.public])


@pytest.mark.parametrize(
    ("running", "now", "error", "says"),
    [
        ("0.1.0", NOW, None, ""),
        ("0.2.0", NOW, Untrusted, "not newer"),
        ("0.2.1", NOW, Untrusted, "not newer"),
        ("1.0.0", NOW, Untrusted, "not newer"),
        ("0.1.0", NOW + 100, Untrusted, "expired"),
        ("0.0.9", NOW, Unsupported, "for 0.1.0 and later"),
    ],
)
def test_which_may_follow_which(
    folder: Path, running: str, now: float, error: type[ModeldistError] | None, says: str
) -> None:
    release = made(folder)
    if error is None:
        admit(release, running, now)
        return
    with pytest.raises(error, match=says):
        admit(release, running, now)


def test_a_release_is_of_one_version(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no wheel of modeldist"):
        made(tmp_path)
    for version in ("0.2.0", "0.3.0"):
        (tmp_path / f"modeldist-{version}-py3-none-any.whl").write_bytes(b"")
    with pytest.raises(UsageError, match="2 wheels of modeldist"):
        made(tmp_path)
