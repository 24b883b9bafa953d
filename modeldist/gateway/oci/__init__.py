"""The OCI mirror: registries' artifacts, container images too, read through the store and the swarm.

routes.py      the requests, put together from the parts below
paths.py       which request a URL is. Pure
upstreams.py   which repository of which registry is meant, and whether it is mirrored. Pure
callers.py     who asks: credentials, and the tokens that stand for them
answers.py     errors as clients of registries know them
admissions.py  who may read a repository, and what its tags are: the registry itself is asked, as who asks us
manifests.py   manifests and the blobs they name, as artifacts
"""
