"""Origins: where models come from. Resolve a reference to an artifact; read ranges of its shards.

One interface (`base.py`), a file per kind: oci, huggingface, modelscope, http, file, layout. `router.py` picks by
reference.
May import modelpack, artifact, errors.

    router.py        Origins: the one door              settings.py      what all of them are told
    ranged_http.py   a range of an URL into a file      http_session.py  requests, redirects; http_dialing.py  sockets
    http_answers.py  what statuses and headers mean     http_body.py     body to file; patience.py  when to try again
    local_paths.py   allowed directories, copying       repo_ids.py      names of snapshots; identity.py  our digests
    models.py        manifests to files                 modelpack_errors.py, huggingface_errors.py  others' errors
    background_loop.py, blob_locations.py, registry_client.py   modelpack's async client for reading threads
    modelscope_listing.py   what that hub answers
    hub_glance.py, registry_glance.py   one question each, without the client that knows everything
"""
