"""OpenSSF model-signing: a signed list of a model's files with the digest of each.

Layers of a ModelPack that are raw files have that digest as their name, so the list is compared with the manifest and
no weight has to be read; over a directory the files are hashed. Written and read for model-signing 1.x.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.artifact import ModelFile
from modelpack.errors import InvalidSignature
from modelpack.hashing import hash_files
from modelpack.trust.statements import read_statement

PREDICATE = "https://model_signing/signature/v1.0"
SIGNATURE_FILE = "model.sig"
_HEX = re.compile(r"[0-9a-f]{64}")
_GIT = re.compile(r"\.git(|hub|ignore|attributes)")
_NAMED = 4  # files in a message


@dataclass(frozen=True, slots=True)
class SignedFiles:
    """`digests`: `sha256:…` by path. `ignored`: what the signer left out, as far as it is Git's or a signature."""

    digests: Mapping[str, str]
    ignored: frozenset[str]

    def check_layers(self, files: Iterable[ModelFile]) -> None:
        """That these are the files of the model, all of them and no other. Raises InvalidSignature."""
        found: dict[str, str] = {}
        for file in files:
            if file.encoding != "raw":
                raise InvalidSignature(
                    f"It lists files, and the model keeps {file.path!r} in an archive, which cannot be compared."
                )
            found[file.path] = file.descriptor.digest
        self._check(found)

    def check_directory(self, directory: Path) -> None:
        """Hash every file below `directory` and compare. Raises InvalidSignature, OSError."""
        paths: list[Path] = []
        for folder, folders, files in os.walk(directory, followlinks=False):
            paths += [Path(folder, name) for name in files]
            if linked := [name for name in folders if Path(folder, name).is_symlink()]:
                raise InvalidSignature(f"{Path(folder, linked[0])} is a link to a directory, which no list has.")
        paths.sort()
        names = [path.relative_to(directory).as_posix() for path in paths]
        wanted = [(name, path) for name, path in zip(names, paths, strict=True) if not self._leaves_out(name)]
        hashed = hash_files([path for _, path in wanted])
        self._check({name: found.digest for (name, _), found in zip(wanted, hashed, strict=True)})

    def _check(self, found: Mapping[str, str]) -> None:
        wrong = sorted(name for name, digest in self.digests.items() if name in found and found[name] != digest)
        missing = sorted(self.digests.keys() - found.keys())
        unsigned = sorted(name for name in found.keys() - self.digests.keys() if not self._leaves_out(name))
        for problem, names in (("has other content in", wrong), ("lacks", missing), ("has, unsigned,", unsigned)):
            if names:
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                raise InvalidSignature(f"The model {problem} {', '.join(names[:_NAMED])}{more}.")

    def _leaves_out(self, name: str) -> bool:
        return name == SIGNATURE_FILE or any(name == path or name.startswith(f"{path}/") for path in self.ignored)


def signed_files(payload: bytes) -> SignedFiles:
    """What a statement of model-signing lists. Raises InvalidSignature when it is none, or lists what manifests do not
    have: parts of files, or digests that are no SHA-256."""
    statement = read_statement(payload)
    if (kind := statement["predicateType"]) != PREDICATE:
        raise InvalidSignature(f"It is a statement of the type {kind[:120]!r}, not of OpenSSF model-signing 1.0.")
    try:
        predicate = statement["predicate"]
        how, resources = predicate["serialization"], predicate["resources"]
        method, algorithm = how["method"], how["hash_type"]
        (subject,) = statement["subject"]
        promised = subject["digest"]["sha256"]
        ignored = [str(path) for path in how.get("ignore_paths", [])]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _malformed() from None
    if method != "files" or algorithm != "sha256":
        raise InvalidSignature(
            f"It lists {str(method)[:40]} by {str(algorithm)[:40]}; only whole files by sha256 can be compared."
        )
    digests, root = _resources(resources)
    if root != promised:
        raise InvalidSignature("The digest of the list is not that of its files.")
    return SignedFiles(digests, frozenset(path for path in ignored if _GIT.fullmatch(path) or path == SIGNATURE_FILE))


def _resources(resources: Any) -> tuple[dict[str, str], str]:
    """(digests by path, sha256 over all digests in order). Raises InvalidSignature."""
    digests: dict[str, str] = {}
    root = hashlib.sha256()
    for entry in resources if isinstance(resources, list) else ():
        name, value, algorithm = (
            (entry.get(member) for member in ("name", "digest", "algorithm"))
            if isinstance(entry, dict)
            else (None, None, None)
        )
        if not isinstance(name, str) or not isinstance(value, str) or not _HEX.fullmatch(value):
            raise _malformed()
        if algorithm != "sha256" or name in digests:
            raise _malformed()
        root.update(bytes.fromhex(value))
        digests[name] = f"sha256:{value}"
    return digests, root.hexdigest()


def _malformed() -> InvalidSignature:
    return InvalidSignature("The list of signed files is malformed.")
