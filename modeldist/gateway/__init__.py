"""Drop-in endpoints of a node's agent: what programs that never heard of it ask, answered from its store and swarm.

May import agent, session, origins, artifact, errors; never control or cli. One HTTP port on loopback.

    app.py          the shell: which endpoint a request is for, errors, who may ask
    flights.py      shards on their way here, each fetched once for everybody who reads it
    shard_body.py   the bytes of a shard as they arrive, as an HTTP answer
    byte_ranges.py  Range headers
    hub/            the Hugging Face endpoint: HF_ENDPOINT=http://127.0.0.1:PORT
    oci/            the OCI mirror: registries' artifacts under /v2/
"""
