"""Where an artifact is, as commands are told: a registry's reference or `oci-layout:DIR[:TAG|@DIGEST]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.agent.this_node import default_registry
from modeldist.errors import InvalidReference, NotFound

if TYPE_CHECKING:
    from modelpack.reference import Reference

SCHEME = "oci-layout:"
_LAYOUT = re.compile(r"oci-layout:(?P<path>[^@]+?)(?::(?P<tag>[^:/@]+)|@(?P<digest>sha(?:256|512):[0-9a-f]+))?")


@dataclass(frozen=True)
class LayoutPlace:
    """A layout's directory, and what the artifact is called there: a name, a digest, or nothing."""

    path: Path
    ref: str = ""

    @property
    def pinned(self) -> bool:
        """Whether `ref` is a digest."""
        return self.ref.startswith(("sha256:", "sha512:"))

    def __str__(self) -> str:
        joint = "@" if self.pinned else ":" if self.ref else ""
        return f"{SCHEME}{self.path}{joint}{self.ref}"


def split_layout(text: str) -> tuple[Path, str] | None:
    """(directory, name) of `DIR:NAME` where DIR is a layout; a name may be a whole reference, as those of what was
    built here are."""
    parts = text.split(":")
    for number in range(1, len(parts)):
        directory = Path(":".join(parts[:number])).expanduser()
        if (directory / "oci-layout").is_file():
            return directory, ":".join(parts[number:])
    return None


def layout_at(target: str) -> tuple[Path, str] | None:
    """(directory, name or digest): `oci-layout:DIR:TAG`, `DIR:TAG`, `DIR@sha256:…` or `DIR`, where DIR is a layout."""
    text = target.removeprefix(SCHEME)
    path, _, digest = text.rpartition("@")
    for name, ref in ((text, ""), (path, digest)):
        directory = Path(name).expanduser()
        if name and (directory / "oci-layout").is_file():
            return directory, ref
    if (found := split_layout(text)) is not None:
        return found
    return (Path(text).expanduser(), "") if target.startswith(SCHEME) else None


def check_there(target: str) -> None:
    """What is written as a path is no reference. Raises NotFound."""
    if target.startswith(("/", "./", "../", "~")) and not Path(target).expanduser().exists():
        raise NotFound(f"{target} does not exist.", remedy="Check the path.")


def place(text: str, registry: str | None) -> LayoutPlace | Reference:
    """What `text` names. Raises InvalidReference, and modelpack's."""
    from modelpack.reference import Reference

    if not text.startswith(SCHEME):
        return Reference.parse(text, default_registry(registry))
    if split := split_layout(text.removeprefix(SCHEME)):
        return LayoutPlace(split[0].absolute(), split[1])
    found = _LAYOUT.fullmatch(text)
    if found is None or "\0" in text:
        raise InvalidReference(
            f"{text[:200]!r} is no OCI layout.",
            remedy="Write oci-layout:DIR, oci-layout:DIR:tag or oci-layout:DIR@digest.",
        )
    return LayoutPlace(Path(found["path"]).expanduser().absolute(), found["tag"] or found["digest"] or "")
