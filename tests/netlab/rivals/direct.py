"""Every node for itself: what people do today."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.netlab.figures import Raw
from tests.netlab.rivals.base import Arena, all_at_once


class Curl:
    name = "curl"
    says = "one `curl` per node, all files over one connection"

    def missing(self) -> str:
        return "" if shutil.which("curl") else "not installed (Debian: apt-get install curl)"

    def run(self, arena: Arena) -> Raw:
        commands = {}
        for node in arena.scenario.nodes:
            folder = arena.folder(node.name)
            targets = [part for name, url in arena.made.urls.items() for part in ("-o", str(folder / name), url)]
            commands[node.name] = [*arena.lab.inside(node.name), "curl", "-fsS", *targets]
        return _from_registry(arena, commands)


class Aria2:
    name = "aria2c"
    says = "one `aria2c -x16 -s16 -k1M --file-allocation=none` per node"

    def missing(self) -> str:
        return "" if shutil.which("aria2c") else "not installed (Debian: apt-get install aria2)"

    def run(self, arena: Arena) -> Raw:
        listed = arena.home / "urls"
        listed.write_text("".join(f"{url}\n  out={name}\n" for name, url in arena.made.urls.items()))
        flags = ["-q", "-x16", "-s16", "-k1M", "--file-allocation=none", "--no-conf", "-i", str(listed)]
        commands = {
            node.name: [*arena.lab.inside(node.name), "aria2c", *flags, "-d", str(arena.folder(node.name))]
            for node in arena.scenario.nodes
        }
        return _from_registry(arena, commands)


class HuggingFace:
    name = "hf download"
    says = "one `hf download --local-dir` per node, from a Hugging Face shaped server; Python's start is in its time"
    _program = Path(sys.executable).with_name("hf")

    def missing(self) -> str:
        return "" if self._program.exists() else "not installed (pip install huggingface-hub)"

    def run(self, arena: Arena) -> Raw:
        url = arena.origin.serve_on_hub(arena.made)
        commands = {
            node.name: [
                *arena.lab.inside(node.name),
                *("env", f"HF_HOME={arena.folder(node.name)}/home", f"HF_ENDPOINT={url}"),
                *(str(self._program), "download", arena.made.hub, "--local-dir", str(arena.folder(node.name))),
            ]
            for node in arena.scenario.nodes
        }
        before = arena.lab.uplink_bytes()
        try:
            ended = all_at_once(commands, {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"})
        finally:
            served = arena.origin.hub_bytes()
        return arena.raw(ended, served, arena.lab.uplink_since(before))


def _from_registry(arena: Arena, commands: dict[str, list[str]]) -> Raw:
    before = arena.lab.uplink_bytes()
    ended = all_at_once(commands)
    return arena.raw(ended, arena.origin.blob_bytes(arena.made), arena.lab.uplink_since(before))
