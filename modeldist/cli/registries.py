"""A client for registries, with the credentials Docker and Podman keep for this user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modeldist import __version__

if TYPE_CHECKING:
    from modelpack.oci import Credentials, RegistryClient


def registry_client(plain_http: Iterable[str] | None, credentials: Credentials | None = None) -> RegistryClient:
    """To use as `async with`. `credentials`: instead of those kept for this user."""
    from modelpack.oci import DockerCredentials, RegistryClient

    return RegistryClient(
        credentials=credentials or DockerCredentials.from_environment(),
        plain_http=frozenset(plain_http or ()),
        user_agent=f"modeldist/{__version__}",
    )
