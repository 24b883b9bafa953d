"""Which origin a reference is written for, and one door to all of them.

Origins are imported when first needed: a registry reference must not pay for huggingface_hub.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from modeldist.artifact import Artifact, Digest, OriginKind
from modeldist.errors import IntegrityError, InvalidReference
from modeldist.origins import selected
from modeldist.origins.base import Origin, RangeReader
from modeldist.origins.modelpack_errors import in_our_words
from modeldist.origins.settings import OriginSettings

if TYPE_CHECKING:
    from modeldist.origins.http_dialing import Dialer
    from modeldist.origins.hub_admission import HubDoor
    from modeldist.origins.oci_blobs import BlobsOrigin
    from modeldist.origins.registry_door import RegistryDoor
    from modeldist.origins.trust_gate import TrustGate

_PASSED = 64  # models that are remembered to have passed the policy

_SCHEMES: Mapping[str, OriginKind] = {
    "hf": "huggingface",
    "modelscope": "modelscope",
    "http": "http",
    "https": "http",
    "file": "file",
    "oci-layout": "layout",
    "oci": "oci-blobs",
}


_READING_A_REGISTRY = (
    "modeldist.origins.chunk_tables",
    "modeldist.origins.oci",
    "modeldist.origins.models",
    "modeldist.origins.ranged_http",
    "modeldist.origins.registry_client",
    "modelpack.blobs",
    "modelpack.dialects",
    "modelpack.oci.blobs",
    "modelpack.placement",
    "anyio._backends._asyncio",  # by the HTTP client, which knows only then whose event loop it is on
    "httpcore2",
)
"""Modules that import, between them, all that the first pull from a registry takes."""


class NamingOrigin(Origin, Protocol):
    """An origin that also has one way to write each reference."""

    def canonical(self, reference: str) -> str:
        """The reference normalised, without I/O. Raises InvalidReference."""


class Origins:
    """All origins of a process. Readers may be used from any thread, the rest from one event loop."""

    def __init__(self, settings: OriginSettings | None = None) -> None:
        self._settings = settings or OriginSettings()
        self._passed: OrderedDict[tuple[str, Digest], Artifact] = OrderedDict()
        self._gate: TrustGate | None = None
        if self._settings.policy is not None:
            from modeldist.origins.trust_gate import TrustGate

            self._gate = TrustGate(self._settings.policy)
        self._made: dict[OriginKind, NamingOrigin] = {}

    def origin_for(self, reference: str) -> NamingOrigin:
        """The origin a reference, without a selection, is written for. Raises InvalidReference."""
        return self._origin(kind_of_reference(reference))

    def origin_of(self, artifact: Artifact) -> NamingOrigin:
        return self._origin(artifact.origin)

    def canonical(self, reference: str) -> str:
        """One text for everything that means the same: what a store files "what the user asked for" under.
        No I/O. Raises InvalidReference."""
        base, selection = selected.split(reference)
        return selected.join(self.origin_for(base).canonical(base), selection)

    async def resolve(self, reference: str) -> Artifact:
        """See `Origin.resolve`. A reference that selects means a part, and one that does not never the same weights
        twice (see `modelpack.plan.families`). Raises Untrusted when the policy does not let the model pass."""
        base, selection = selected.split(reference)
        whole = await self.origin_for(base).resolve(base)
        if self._gate is not None:  # before headers of weights are read
            whole = self._passing(whole, base, self._gate)
        return await selected.select(whole, selection, self.reader)

    def _passing(self, artifact: Artifact, reference: str, gate: TrustGate) -> Artifact:
        """What an origin resolved, and the policy lets pass. Raises Untrusted."""
        if not gate.accepts(artifact):  # its origin knows no signatures, else it had asked the gate
            with in_our_words(reference):
                gate.check_unsigned(artifact.name)
            artifact = gate.approved(artifact)
        self._passed[artifact.name, artifact.digest] = artifact
        while len(self._passed) > _PASSED:
            self._passed.popitem(last=False)
        return artifact

    async def still(self, artifact: Artifact, reference: str) -> bool:
        """See `Origin.still`; a reference of another kind of origin is another thing, and what did not pass the policy
        is not what anybody may have."""
        base, selection = selected.split(reference)
        origin = self.origin_for(base)
        if origin is not self.origin_of(artifact) or not selected.means(artifact, selection):
            return False
        return self.accepts(artifact) and await origin.still(selected.whole_of(artifact), base)

    def accepts(self, artifact: Artifact) -> bool:
        """Whether it passed the policy, if there is one. Only of what this process or its store resolved."""
        return self._gate is None or self._gate.accepts(artifact)

    async def approve(self, artifact: Artifact, reference: str) -> Artifact:
        """What another process resolved for `reference`, under this process' own policy: resolved here once more, from
        its origin, unless that was done before. Raises Untrusted, and what `resolve` raises."""
        if self._gate is None or self._gate.accepts(artifact):
            return artifact
        selection, resolved = selected.text_of(artifact), selected.whole_of(artifact)
        if whole := self._passed.get((artifact.name, resolved.digest)):
            found = await selected.select(whole, selection, self.reader)
        else:
            found = await self.resolve(selected.join(resolved.reference, selection))
        check_same(artifact, found, self.canonical(reference))
        return replace(artifact, chunks=found.chunks, approved=found.approved)

    async def prepare(self) -> None:
        """For a process that is there before it is asked for anything: import what reading from a registry takes.

        Otherwise the first pull does, 0.1 s of a core during which nothing moves; longer on all nodes of a machine.
        """
        dialer = self._dialer

        def take() -> None:
            for module in _READING_A_REGISTRY:
                import_module(module)
            _ = dialer.tls

        await asyncio.to_thread(take)

    def reader(self, artifact: Artifact) -> RangeReader:
        """See `Origin.reader`. One per reading thread."""
        return self.origin_of(artifact).reader(selected.whole_of(artifact))

    def hub_door(self) -> HubDoor:
        """The hub that `hf://` means, to be asked on behalf of others."""
        from modeldist.origins.hub_admission import HubDoor
        from modeldist.origins.huggingface import endpoint_of

        return HubDoor(self._dialer, endpoint_of(self._settings))

    def registry_door(self) -> RegistryDoor:
        """Registries, to be asked on behalf of others."""
        from modeldist.origins.registry_door import RegistryDoor

        return RegistryDoor(self._settings, self._dialer)

    def blobs(self) -> BlobsOrigin:
        """OCI artifacts as they are."""
        from modeldist.origins.oci_blobs import BlobsOrigin

        origin = self._origin("oci-blobs")
        assert isinstance(origin, BlobsOrigin)
        return origin

    async def close(self) -> None:
        while self._made:
            _, origin = self._made.popitem()
            await origin.close()

    @cached_property
    def _dialer(self) -> Dialer:
        from modeldist.origins.http_dialing import Dialer

        return Dialer(self._settings.http)

    def _origin(self, kind: OriginKind) -> NamingOrigin:
        if kind not in self._made:
            self._made[kind] = self._makers[kind]()
        return self._made[kind]

    @property
    def _makers(self) -> Mapping[OriginKind, Callable[[], NamingOrigin]]:
        return {
            "oci": self._oci,
            "oci-blobs": self._oci_blobs,
            "huggingface": self._huggingface,
            "modelscope": self._modelscope,
            "http": self._http,
            "file": self._file,
            "layout": self._layout,
        }

    def _oci(self) -> NamingOrigin:
        from modeldist.origins.oci import OciOrigin

        return OciOrigin(self._settings, self._dialer, self._gate)

    def _oci_blobs(self) -> NamingOrigin:
        from modeldist.origins.oci_blobs import BlobsOrigin

        return BlobsOrigin(self._settings, self._dialer, self._gate)

    def _huggingface(self) -> NamingOrigin:
        from modeldist.origins.huggingface import HuggingFaceOrigin

        return HuggingFaceOrigin(self._settings, self._dialer)

    def _modelscope(self) -> NamingOrigin:
        from modeldist.origins.modelscope import ModelScopeOrigin

        return ModelScopeOrigin(self._settings, self._dialer)

    def _http(self) -> NamingOrigin:
        from modeldist.origins.http import HttpOrigin

        return HttpOrigin(self._settings, self._dialer)

    def _file(self) -> NamingOrigin:
        from modeldist.origins.file import FileOrigin

        return FileOrigin(self._settings)

    def _layout(self) -> NamingOrigin:
        from modeldist.origins.layout import LayoutOrigin

        return LayoutOrigin(self._settings, self._gate)


def check_same(told: Artifact, found: Artifact, canonical: str) -> None:
    """That what another process said of a model is what its origin says, and of the model that was asked for.
    Raises IntegrityError."""
    rest = canonical.removeprefix(found.name)
    named = rest != canonical and rest[:1] in ("", ":", "@")
    same = all(getattr(told, member) == getattr(found, member) for member in ("name", "digest", "origin", "endpoint"))
    if not named or not same or told.files != found.files:
        raise IntegrityError(
            f"{canonical}: what the control plane says of it is not what its origin says.",
            remedy="Nothing was read. Find out who runs the control plane, and whether it is up to date.",
        )


def kind_of_reference(reference: str) -> OriginKind:
    """By its scheme; a reference without one is a registry's. Raises InvalidReference."""
    try:
        reference.encode()
    except UnicodeEncodeError:
        raise InvalidReference(f"{reference[:200]!a} is not UTF-8.", remedy="References are text.") from None
    scheme, colon, rest = reference.partition(":")
    kind = _SCHEMES.get(scheme.lower())
    if kind is not None and (rest.startswith("//") or scheme in ("file", "oci-layout")):
        return kind
    if colon and rest.startswith("//"):
        raise InvalidReference(
            f"{reference[:200]!r}: no origin is called {scheme[:40]!r}.",
            remedy="Known are org/model:tag, oci://, hf://, modelscope://, https://, file:// and oci-layout:.",
        )
    return "oci"
