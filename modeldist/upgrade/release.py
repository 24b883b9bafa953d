"""A release: a directory of wheels and `release.json`, a signed list of them (docs/adr/0044-self-update.md).

The list is a DSSE envelope, signed with a key as `modeldist keygen` makes it. Whoever holds the directory may have it
from anywhere: nothing of it counts but what the list says, and the list but by its signature.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from modeldist.errors import UNDECODABLE, IntegrityError, StorageError, Unsupported, Untrusted, UsageError
from modelpack.document import read_object
from modelpack.errors import InvalidSignature
from modelpack.trust.dsse import Envelope, parse_envelope
from modelpack.trust.keys import PrivateKey, PublicKey

LIST = "release.json"
PAYLOAD = "application/vnd.modeldist.release.v1+json"
DISTRIBUTION = "modeldist"
LIFETIME = 90 * 86400.0  # seconds for which a release may be installed
_MOST_BYTES = 1 << 20  # of the list
_MOST_WHEELS = 500
_WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.whl")
_READ = 1 << 20


class Wheel(msgspec.Struct, frozen=True):
    """`size` in bytes, `sha256` in hexadecimal."""

    name: str
    size: int
    sha256: str


class Release(msgspec.Struct, frozen=True):
    """`minimum`: the oldest version that may be updated to this one. Times in seconds since the epoch."""

    version: str
    minimum: str
    created: float
    expires: float
    wheels: tuple[Wheel, ...]


def make(folder: Path, key: PrivateKey, *, minimum: str, now: float, lifetime: float = LIFETIME) -> Release:
    """Write the signed list of the wheels in `folder`. Raises UsageError, StorageError."""
    wheels = tuple(_wheel(path) for path in sorted(folder.glob("*.whl")))
    own = [version for wheel in wheels for name, version in [_parsed(wheel.name)] if name == DISTRIBUTION]
    if len(own) != 1:
        raise UsageError(
            f"{folder} has {len(own) or 'no'} wheel{'s' if len(own) > 1 else ''} of {DISTRIBUTION}.",
            remedy=f"Build one into it: `pip wheel --no-deps -w {folder} .`; what it needs may lie beside it.",
        )
    release = Release(str(own[0]), str(_version(minimum)), now, now + lifetime, wheels)
    payload = msgspec.json.encode(release)
    envelope = Envelope(PAYLOAD, payload, (key.sign(Envelope(PAYLOAD, payload, ()).signed),))
    try:
        (folder / LIST).write_text(json.dumps(envelope.document()) + "\n")
    except OSError as error:
        raise StorageError(f"{folder / LIST} cannot be written: {error.strerror}.") from error
    return release


def read(folder: Path, keys: Sequence[PublicKey]) -> Release:
    """The release in `folder`, its signature and every wheel proven. Raises Untrusted, IntegrityError."""
    release = _signed(_bytes(folder), keys)
    for wheel in release.wheels:
        _prove(folder / wheel.name, wheel)
    return release


def admit(release: Release, running: str, now: float) -> None:
    """Whether what runs may become this: never something older, nor a release that is only remembered by somebody who
    kept it. Raises Untrusted, Unsupported."""
    new, old = Version(release.version), Version(running)
    if now >= release.expires:
        raise Untrusted(f"The release {release.version} has expired.", remedy="Sign it anew: `modeldist release sign`.")
    if new <= old:
        raise Untrusted(
            f"The release {release.version} is not newer than {running}, which runs here.",
            remedy="Make a release with a higher version; to what ran before, a rollout goes back by itself.",
        )
    if old < Version(release.minimum):
        raise Unsupported(
            f"The release {release.version} is for {release.minimum} and later; {running} runs here.",
            remedy=f"Update to {release.minimum} first.",
        )


def _signed(raw: bytes, keys: Sequence[PublicKey]) -> Release:
    try:
        envelope = parse_envelope(read_object(raw, limit=_MOST_BYTES, what="release", error=InvalidSignature))
    except InvalidSignature as error:
        raise Untrusted(f"The release's list is not signed as releases are: {error.message}") from None
    if envelope.payload_type != PAYLOAD:  # the same key may sign models
        raise Untrusted(f"What is signed is {envelope.payload_type[:100]!r} and no release.")
    signed = envelope.signed
    if not any(key.verifies(signature, signed) for key in keys for signature in envelope.signatures):
        raise Untrusted(
            "The release is signed by none of the keys that this machine takes releases from.",
            remedy="Sign it with that key, or give this machine the other key's public half: --release-key.",
        )
    try:
        release = msgspec.json.decode(envelope.payload, type=Release)
        versions = [_parsed(wheel.name) for wheel in release.wheels]
        _version(release.minimum)
    except (*UNDECODABLE, UsageError) as error:
        raise Untrusted(f"The release's list is signed and cannot be read: {error}") from None
    names = [wheel.name for wheel in release.wheels]
    own = [str(version) for name, version in versions if name == DISTRIBUTION]
    if own != [release.version] or len(set(names)) != len(names) or len(names) > _MOST_WHEELS:
        raise Untrusted("The release's list is signed and contradicts itself.", remedy="Make the release anew.")
    return release


def _bytes(folder: Path) -> bytes:
    try:
        with (folder / LIST).open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Untrusted(
            f"There is no signed list of a release: {LIST}: {error.strerror}.",
            remedy="Make one with `modeldist release sign`, and push the whole directory.",
        ) from None


def _wheel(path: Path) -> Wheel:
    try:
        return Wheel(path.name, path.stat().st_size, _sha256(path))
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from error


def _prove(path: Path, wheel: Wheel) -> None:
    try:
        right = path.stat().st_size == wheel.size and _sha256(path) == wheel.sha256
    except OSError as error:
        raise IntegrityError(f"The release's {wheel.name} cannot be read: {error.strerror}.") from None
    if not right:
        raise IntegrityError(
            f"The release's {wheel.name} is not what was signed.", remedy="Push the release again, as it was made."
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ):
            digest.update(block)
    return digest.hexdigest()


def _parsed(wheel: str) -> tuple[str, Version]:
    """Raises UsageError."""
    if not _WHEEL.fullmatch(wheel):
        raise UsageError(f"{wheel[:100]!r} is no name of a wheel.")
    try:
        name, version, *_ = _name_of(wheel)
    except (InvalidWheelFilename, InvalidVersion):
        raise UsageError(f"{wheel!r} is no name of a wheel.") from None
    return canonicalize_name(name), version


def _name_of(wheel: str) -> Any:
    return parse_wheel_filename(wheel)


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise UsageError(f"{text[:100]!r} is no version.", remedy="Write it like 0.2.0.") from None
