"""Origins: where models come from. Resolve a reference to an artifact; read ranges of its shards.

One interface (`base.py`), a file per kind: oci, huggingface, http, file, layout. `router.py` picks by reference.
May import modelpack, artifact, errors.
"""
