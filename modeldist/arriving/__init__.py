"""A model that is read while it arrives: the files of its snapshot, readable as far as they are verified.

    with open_model("org/model:tag") as model:
        file = model.files["model.safetensors"]
        model.want([(file, 0, 8)])
        file.wait(0, 8)
        os.pread(file.fd, 8, 0)

Through the node's agent where one runs, else by an engine in this process; nobody who reads sees the difference.

    model.py      ArrivingModel: what a reader has
    file.py       ArrivingFile: one file of it
    feed.py       where the news of it come from: by_agent.py, embedded.py

Threads, no event loop of the caller's. May import the agent's room and all below, and the control plane's, which an
engine without an agent needs; not the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modeldist.arriving.file import ArrivingFile as ArrivingFile
    from modeldist.arriving.model import ArrivingModel as ArrivingModel
    from modeldist.arriving.opening import open_model as open_model

_HOME = {"ArrivingFile": "file", "ArrivingModel": "model", "open_model": "opening"}

__all__ = ["ArrivingFile", "ArrivingModel", "open_model"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if (home := _HOME.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
