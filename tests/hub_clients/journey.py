"""What a program does with huggingface_hub, of whichever release: `python journey.py REPO GATED`. Prints JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download


def error_of(question: Callable[[], object]) -> str:
    """Its class, by which callers know it."""
    try:
        question()
    except Exception as error:
        return ", ".join(cls.__name__ for cls in type(error).__mro__ if cls.__module__.startswith("huggingface_hub"))
    return "none"


repo, gated = sys.argv[1:]
api = HfApi()
print(
    json.dumps(
        {
            "snapshot": snapshot_download(repo),
            "files": sorted(api.list_repo_files(repo)),
            "listed": sorted(HfFileSystem().find(repo)),
            "absent repository": error_of(lambda: snapshot_download("org/absent")),
            "absent revision": error_of(lambda: hf_hub_download(repo, "config.json", revision="v9")),
            "absent file": error_of(lambda: hf_hub_download(repo, "absent.json")),
            "gated": error_of(lambda: hf_hub_download(gated, "config.json")),
            "granted": error_of(lambda: hf_hub_download(gated, "config.json", token="hf_granted")),
        }
    )
)
