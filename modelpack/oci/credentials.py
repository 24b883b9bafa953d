"""Credentials for registries where Docker and Podman keep them: `config.json`, `auth.json` and credential helpers.

Secrets are in no repr, no log line and no error message; a helper gets and gives them by its stdin and stdout alone.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from modelpack.errors import RegistryUnauthorized
from modelpack.oci.credential_files import read_config, write_config
from modelpack.oci.credential_helpers import CredentialHelper

_HUB = "https://index.docker.io/v1/"
_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
_IDENTITY = "<token>"  # a helper's user name when its secret is an identity token


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name with a password, or an identity token (an OAuth2 refresh token)."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


class Credentials(Protocol):
    """Where credentials come from."""

    async def lookup(self, registry: str, repository: str = "") -> Credential | None:
        """The credential for a repository of `registry`, None to stay a stranger."""


@dataclass(frozen=True)
class FixedCredentials:
    """Credentials given by the program: registry (`host[:port]`) to credential."""

    by_registry: Mapping[str, Credential] = field(repr=False)

    async def lookup(self, registry: str, repository: str = "") -> Credential | None:
        return self.by_registry.get(registry)


@dataclass(frozen=True)
class DockerCredentials:
    """The files in the order they are asked; logging in writes the first. `path` is where helpers are looked for
    (as PATH), None for the process's own; `timeout` in seconds bounds one call of a helper."""

    files: tuple[Path, ...]
    path: str | None = None
    timeout: float = 30.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """REGISTRY_AUTH_FILE if set; then DOCKER_CONFIG or ~/.docker; then Podman's file of this login session."""
        home = Path(environment.get("HOME") or Path.home())
        docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
        files = [docker]
        if named := environment.get("REGISTRY_AUTH_FILE"):
            files.insert(0, Path(named))
        if runtime := environment.get("XDG_RUNTIME_DIR"):
            files.append(Path(runtime) / "containers" / "auth.json")
        return cls(tuple(files), environment.get("PATH"))

    async def lookup(self, registry: str, repository: str = "") -> Credential | None:
        """Raises RegistryUnauthorized when a file or helper cannot be read."""
        for file in self.files:
            config = read_config(file)
            helper = self._helper(config, registry, file)
            if helper and (found := await helper.get(_helper_key(registry))):
                return _from_helper(*found)
            if credential := _from_auths(config, registry, repository, file):
                return credential
        return None

    async def login(self, registry: str, credential: Credential) -> None:
        """Store the credential: with the helper the file names, else in the file (mode 0600)."""
        file = self.files[0]
        config = read_config(file)
        if helper := self._helper(config, registry, file):
            username = _IDENTITY if credential.identity_token else credential.username
            await helper.store(_helper_key(registry), username, credential.identity_token or credential.password)
            return
        entry: dict[str, str] = {}
        if credential.identity_token:
            entry["identitytoken"] = credential.identity_token
        else:
            entry["auth"] = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
        auths = config.setdefault("auths", {})
        for key in _server_keys(registry):
            auths.pop(key, None)
        auths[_helper_key(registry)] = entry
        write_config(file, config)

    async def logout(self, registry: str) -> bool:
        """Forget the credential everywhere; whether there was one."""
        forgotten = False
        for file in self.files:
            config = read_config(file)
            if helper := self._helper(config, registry, file):
                key = _helper_key(registry)
                if await helper.get(key):
                    await helper.erase(key)
                    forgotten = True
            auths = config.get("auths", {})
            keys = [key for key in _server_keys(registry) if key in auths]
            for key in keys:
                del auths[key]
            if keys:
                write_config(file, config)
                forgotten = True
        return forgotten

    def _helper(self, config: Mapping[str, Any], registry: str, file: Path) -> CredentialHelper | None:
        helpers = config.get("credHelpers", {})
        named = next((helpers[key] for key in _server_keys(registry) if helpers.get(key)), config.get("credsStore"))
        return CredentialHelper(named, str(file), self.path, self.timeout) if named else None


def _server_keys(registry: str) -> Iterator[str]:
    """The names a registry goes by in the files."""
    if registry in _HUB_NAMES:
        yield _HUB
        yield from _HUB_NAMES
        return
    yield registry
    for scheme in ("https://", "http://"):
        for path in ("", "/", "/v1/", "/v2/", "/v1", "/v2"):
            yield f"{scheme}{registry}{path}"


def _helper_key(registry: str) -> str:
    return _HUB if registry in _HUB_NAMES else registry


def _from_auths(config: Mapping[str, Any], registry: str, repository: str, file: Path) -> Credential | None:
    """Podman's files may name a namespace or repository: the longest name that fits wins."""
    auths = config.get("auths", {})
    parts = repository.split("/") if repository else []
    names = ["/".join([registry, *parts[:length]]) for length in range(len(parts), 0, -1)]
    for key in (*names, *_server_keys(registry)):
        entry = auths.get(key)
        if isinstance(entry, dict) and (credential := _from_entry(entry, key, file)):
            return credential
    return None


def _from_entry(entry: Mapping[str, Any], key: str, file: Path) -> Credential | None:
    try:
        if token := _text(entry, "identitytoken"):
            return Credential(identity_token=token)
        if username := _text(entry, "username"):
            return Credential(username, _text(entry, "password"))
        if not (auth := _text(entry, "auth")):
            return None
        username, colon, password = base64.b64decode(auth, validate=True).decode().rstrip("\0").partition(":")
    except ValueError:  # no text, no whole characters, no base64, no UTF-8
        colon = ""
    if not colon:
        raise RegistryUnauthorized(
            f"The entry for {key} in {file} is damaged.", remedy=f"Log in to {key} again, or remove the entry."
        )
    return Credential(username, password)


def _text(entry: Mapping[str, Any], name: str) -> str:
    """A member that is a text, or absent. Raises ValueError for one that no header can carry."""
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError
    value.encode()
    return value


def _from_helper(username: str, secret: str) -> Credential:
    if username == _IDENTITY:
        return Credential(identity_token=secret)
    return Credential(username, secret)


def encode_basic(credential: Credential) -> str:
    """The Authorization header of HTTP basic authentication."""
    raw = f"{credential.username}:{credential.password}".encode()
    return "Basic " + base64.b64encode(raw).decode()
