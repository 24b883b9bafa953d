"""An async client for OCI registries, with credentials as Docker keeps them, and whole models pushed and pulled.

May import the rest of `modelpack` and nothing of modeldist. Names load their module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.oci.attach import Attached
    from modelpack.oci.blobs import BlobLocation
    from modelpack.oci.client import RegistryClient
    from modelpack.oci.copy import CopyReport, copy_artifact
    from modelpack.oci.credentials import Credential, Credentials, DockerCredentials, FixedCredentials
    from modelpack.oci.ends import LayoutSource, LayoutTarget, RegistrySource, RegistryTarget
    from modelpack.oci.fetch import FetchedFiles, fetch_files
    from modelpack.oci.manifests import FetchedManifest, ManifestHead
    from modelpack.oci.reading import read_model
    from modelpack.oci.retry import RetryPolicy
    from modelpack.oci.transfer import Progress, pull_layout, push

_HOMES = {
    "Attached": "attach",
    "BlobLocation": "blobs",
    "CopyReport": "copy",
    "Credential": "credentials",
    "Credentials": "credentials",
    "DockerCredentials": "credentials",
    "FetchedFiles": "fetch",
    "FetchedManifest": "manifests",
    "FixedCredentials": "credentials",
    "LayoutSource": "ends",
    "LayoutTarget": "ends",
    "ManifestHead": "manifests",
    "Progress": "transfer",
    "RegistryClient": "client",
    "RegistrySource": "ends",
    "RegistryTarget": "ends",
    "RetryPolicy": "retry",
    "copy_artifact": "copy",
    "fetch_files": "fetch",
    "pull_layout": "transfer",
    "push": "transfer",
    "read_model": "reading",
}

__all__ = [
    "Attached",
    "BlobLocation",
    "CopyReport",
    "Credential",
    "Credentials",
    "DockerCredentials",
    "FetchedFiles",
    "FetchedManifest",
    "FixedCredentials",
    "LayoutSource",
    "LayoutTarget",
    "ManifestHead",
    "Progress",
    "RegistryClient",
    "RegistrySource",
    "RegistryTarget",
    "RetryPolicy",
    "copy_artifact",
    "fetch_files",
    "pull_layout",
    "push",
    "read_model",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelpack.oci' has no attribute {name!r}")
    return getattr(import_module(f"modelpack.oci.{_HOMES[name]}"), name)
