"""Releases of huggingface_hub and transformers against the gateway, each as it is, in a virtual environment of its own:
`make test-clients`. Not a part of `make test`, since they are installed from the package index.

    __main__.py   the nodes, the environments, and what has to come of it
    speed.py      beside `modeldist pull`, on shaped links: `python -m tests.hub_clients.speed`
    journey.py    what one release does; runs in its environment, which has nothing of ours
    with_transformers.py    the same with a real model
"""
