"""A reference out of an engine's two words, model and revision; and a name for its clients."""

from __future__ import annotations

from modeldist.errors import UsageError


def with_revision(model: str, revision: str | None) -> str:
    """`model` is what `modeldist pull` takes. `revision`: a tag or sha256:… of a registry's, a revision of a hub's.
    Raises UsageError where both say which."""
    if revision is None:
        return model
    scheme, has_scheme, rest = model.rpartition("://")
    of_a_registry = not has_scheme or scheme == "oci"
    if "@" in rest or (of_a_registry and ":" in rest.rpartition("/")[2]):
        raise UsageError(
            f"{model} says which version is meant, and so does --revision {revision}.", remedy="Say it once."
        )
    if of_a_registry:
        return f"{model}{'@' if revision.startswith('sha256:') else ':'}{revision}"
    if scheme in ("hf", "modelscope"):
        return f"{model}@{revision}"
    raise UsageError(f"{scheme}:// has no revisions ({revision}).", remedy="Leave out --revision.")


def name_without_colon(reference: str) -> str:
    """What a model is called where a colon means something else: without scheme, registry, tag, digest and revision."""
    scheme, has_scheme, rest = reference.rpartition("://")
    name = rest.partition("#")[0].partition("@")[0]
    host, slash, path = name.partition("/")
    if slash and scheme in ("", "oci") and ("." in host or ":" in host or host == "localhost"):
        name = path
    parent, slash, last = name.rpartition("/")
    if not has_scheme or scheme == "oci":
        last = last.partition(":")[0]
    return f"{parent}{slash}{last}".strip("/").replace(":", "-")
