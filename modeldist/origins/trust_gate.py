"""The gate between resolving and reading: under a policy, no model passes that no accepted signature vouches for.

It is asked with the manifest in hand and before any blob but the config was read. What passed carries a token of the
policy and of its name (`Artifact.approved`), so that what was resolved earlier, or lies in a store, passes again only
under the same policy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from modeldist.artifact import Artifact
from modeldist.origins.modelpack_errors import in_our_words

if TYPE_CHECKING:
    from modelpack.chunk_table import ChunkTable
    from modelpack.manifest import Manifest
    from modelpack.trust.judging import Verdict
    from modelpack.trust.policy import Policy, Rule
    from modelpack.trust.shelf import Shelf

_TABLES = 8  # attached to one model that are looked at


def policy_at(path: Path | None) -> Policy | None:
    """The policy in a file; None where none is set. Raises InvalidPolicy."""
    if path is None:
        return None
    from modelpack.trust.policy import load_policy

    with in_our_words(str(path)):
        return load_policy(path)


class TrustGate:
    """Holds models to one policy. What it raises are modelpack's errors: Untrusted, and those of asking a registry."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def token(self, name: str) -> str:
        return hashlib.sha256(f"{self._policy.fingerprint}\n{name}".encode()).hexdigest()

    def accepts(self, artifact: Artifact) -> bool:
        """Whether it passed already, by this name and under this policy."""
        return artifact.approved == self.token(artifact.name)

    def approved(self, artifact: Artifact) -> Artifact:
        """The same, marked as one that passed."""
        return replace(artifact, approved=self.token(artifact.name))

    def asks(self, name: str) -> bool:
        """Whether what has this name needs a signature. Raises Untrusted where no rule is for it."""
        from modelpack.trust.judging import applying_rule

        return not applying_rule(self._policy, name).allow_unsigned

    async def check(
        self, shelf: Shelf, name: str, digests: Iterable[str], manifest: Manifest, config: bytes
    ) -> Verdict:
        """Why it passes."""
        from modelpack.trust.evidence import gather
        from modelpack.trust.judging import applying_rule, judge

        rule = applying_rule(self._policy, name)
        forms = () if rule.allow_unsigned else rule.accept
        return judge(self._policy, rule, name, await gather(shelf, digests, manifest, config, forms))

    async def table(
        self, verdict: Verdict, shelf: Shelf, name: str, digest: str, manifest: Manifest, named: ChunkTable | None
    ) -> ChunkTable | None:
        """The model's chunk table: the one its manifest names, where the signature is of the manifest, or one that was
        attached and is signed itself."""
        from modelpack.errors import Untrusted

        rule = verdict.rule
        found = named if rule.allow_unsigned or verdict.covers_manifest else None
        if found is None and not rule.allow_unsigned:
            found = await self._attached(rule, shelf, name, digest, manifest)
        if found is None and rule.chunk_table:
            raise Untrusted(
                f"{name}@{digest} is refused by rule {rule.number} of the policy {self._policy.path}: it has no chunk "
                "table that an accepted signature covers.",
                remedy="Build it again with one and sign it, or change the policy.",
            )
        return found

    async def _attached(
        self, rule: Rule, shelf: Shelf, name: str, digest: str, manifest: Manifest
    ) -> ChunkTable | None:
        from modelpack.chunk_table import CHUNK_TABLE_TYPE
        from modelpack.errors import DigestMismatch, InvalidManifest, LayoutError, RegistryNotFound, Untrusted
        from modelpack.manifest import Manifest as ImageManifest
        from modelpack.trust.evidence import gather
        from modelpack.trust.judging import judge
        from modelpack.trust.shelf import attached_table

        forms = [form for form in rule.accept if form != "openssf"]
        for entry in (await shelf.referrers(digest, CHUNK_TABLE_TYPE))[:_TABLES]:
            try:
                about = await shelf.manifest(entry)
                if not isinstance(about, ImageManifest) or not about.layers:
                    continue
                judge(self._policy, rule, name, await gather(shelf, (entry.digest,), about, b"", forms))
            except (Untrusted, InvalidManifest, DigestMismatch, RegistryNotFound, LayoutError):
                continue  # whoever may push may push anything
            return await attached_table(shelf, about, manifest)
        return None

    def check_unsigned(self, name: str) -> None:
        """For origins where nobody signs. Raises Untrusted unless the policy lets it pass."""
        from modelpack.errors import Untrusted
        from modelpack.trust.judging import applying_rule

        rule = applying_rule(self._policy, name)
        if not rule.allow_unsigned:
            raise Untrusted(
                f"{name} is refused by rule {rule.number} of the policy {self._policy.path}: where it comes from "
                "there are no signatures.",
                remedy="Push it to a registry and sign it there, or allow it with allow_unsigned.",
            )
