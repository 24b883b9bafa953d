"""The Hugging Face endpoint: what huggingface_hub asks, answered from the store and the swarm.

routes.py      the requests, put together from the parts below
paths.py       which request a URL is. Pure
documents.py   repositories and trees as JSON. Pure
answers.py     errors as huggingface_hub knows them again
admissions.py  who may read a repository, and what its revisions are: the hub itself is asked, as who asks us
kept.py        what the hub said of that, over a restart of the agent
registries.py  models of registries, under names of a hub
models.py      the files of a commit, resolved once
"""
