"""An async client for OCI registries, with credentials as Docker keeps them, and whole models pushed and pulled.

May import the rest of `modelpack` and nothing of modeldist. Names load their module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.oci.blobs import BlobLocation
    from modelpack.oci.client import RegistryClient
    from modelpack.oci.credentials import Credential, Credentials, DockerCredentials, FixedCredentials
    from modelpack.oci.manifests import FetchedManifest, ManifestHead
    from modelpack.oci.retry import RetryPolicy
    from modelpack.oci.transfer import Progress, pull_layout, push

_HOMES = {
    "BlobLocation": "blobs",
    "Credential": "credentials",
    "Credentials": "credentials",
    "DockerCredentials": "credentials",
    "FetchedManifest": "manifests",
    "FixedCredentials": "credentials",
    "ManifestHead": "manifests",
    "Progress": "transfer",
    "RegistryClient": "client",
    "RetryPolicy": "retry",
    "pull_layout": "transfer",
    "push": "transfer",
}

__all__ = [
    "BlobLocation",
    "Credential",
    "Credentials",
    "DockerCredentials",
    "FetchedManifest",
    "FixedCredentials",
    "ManifestHead",
    "Progress",
    "RegistryClient",
    "RetryPolicy",
    "pull_layout",
    "push",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelpack.oci' has no attribute {name!r}")
    return getattr(import_module(f"modelpack.oci.{_HOMES[name]}"), name)
