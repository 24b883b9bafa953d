"""`vllm` and `sglang` as commands: they take the options below, read the model's configuration and load its weights by
what stands in for the engine, with modeldist's plugin, and end where a server would begin to serve.

    install(folder)                                   # programs that run this file
    python -m tests.servers.engine_commands vllm serve org/model:v1 --load-format modeldist
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.servers.engine_programs import SCHEDULER, SERVES, STAND_INS

ROOT = Path(__file__).parents[2]


def install(folder: Path) -> None:
    """Put both into a directory of the PATH."""
    for name in ("vllm", "sglang"):
        program = folder / name
        words = f"{sys.executable} -m tests.servers.engine_commands {name}"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={STAND_INS}:{ROOT} exec {words} "$@"\n')
        program.chmod(0o755)


def in_the_cache_of_the_hub(model: str) -> str:
    """A name under HF_HUB_OFFLINE is looked up there, and nowhere else. Raises for what is no name of the hub."""
    from huggingface_hub import snapshot_download

    return str(snapshot_download(model, local_files_only=True))


def vllm(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="vllm")
    serve = parser.add_subparsers(required=True).add_parser("serve")
    serve.add_argument("model")
    serve.add_argument("--load-format", default="auto")
    serve.add_argument("--revision")
    serve.add_argument("--model-loader-extra-config", type=json.loads, default={})
    serve.add_argument("--tensor-parallel-size", type=int, default=1)
    serve.add_argument("--port", type=int)
    given = vars(parser.parse_args(words))
    ranks = given.pop("tensor_parallel_size")
    del given["port"]
    if os.environ.get("HF_HUB_OFFLINE") == "1" and not Path(given["model"]).is_dir():
        given["model"] = in_the_cache_of_the_hub(given["model"])

    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.model_executor.model_loader import get_model_loader

    config = AsyncEngineArgs(**given).create_engine_config()
    for _ in range(ranks):
        loader = get_model_loader(config.load_config)
        model = loader.load_model(vllm_config=config, model_config=config.model_config, prefix="")
        assert model.weights, "no weights"


def sglang(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="sglang")
    serve = parser.add_subparsers(required=True).add_parser("serve", allow_abbrev=False)
    serve.add_argument("--tp", type=int)
    _, own = parser.parse_known_args(words)
    program = SERVES.format(arguments=own, loads=SCHEDULER)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        sys.exit(done.stderr or "no weights")


if __name__ == "__main__":
    {"vllm": vllm, "sglang": sglang}[sys.argv[1]](sys.argv[2:])
