"""Programs that use an engine, in processes of their own, with what stands in for the engine on their path.

process = started("from vllm import …", cluster.environment(0))
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.servers.artifacts import safetensors

STAND_INS = Path(__file__).parents[1] / "stand_ins"
WEIGHTS = safetensors({"w": ("U8", (10_000,), b"w" * 10_000)})
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": WEIGHTS}

ENGINE = """
import json, pickle, sys
from pathlib import Path
from vllm.engine.arg_utils import AsyncEngineArgs

config = AsyncEngineArgs(**{settings!r}).create_engine_config()
Path({kept!r}).write_bytes(pickle.dumps(config))
print(json.dumps([config.model_config.__dict__, config.load_config.__dict__]))
"""
RANK = """
import json, pickle, sys
from pathlib import Path
from vllm.plugins import load_general_plugins

load_general_plugins()
config = pickle.loads(Path({kept!r}).read_bytes())
from vllm.model_executor.model_loader import get_model_loader

loader = get_model_loader(config.load_config)
loader.download_model(config.model_config)
model = loader.load_model(vllm_config=config, model_config=config.model_config, prefix="")
again = {{name: each.tobytes() for name, each in loader.get_all_weights(config.model_config, model)}}
found = {{name: each.tobytes() for name, each in model.weights.items()}}
assert again == found
print(json.dumps([model.directory, found["w"].hex()]))
"""
LOADS = """
import hashlib, pickle, sys
from pathlib import Path
from vllm.plugins import load_general_plugins

load_general_plugins()
config = pickle.loads(Path({kept!r}).read_bytes())
from vllm.model_executor.model_loader import get_model_loader

class Telling:
    secondary_weights = ()

    def load_weights(self, weights):
        for name, tensor in weights:
            print(name, hashlib.sha256(tensor.tobytes()).hexdigest(), tensor.dtype, tensor.shape, flush=True)

loader = get_model_loader(config.load_config)
loader.load_weights(Telling(), config.model_config)
"""
SERVES = """
import hashlib, subprocess, sys
from sglang.srt.plugins import load_plugins

load_plugins()
from sglang.srt.server_args import prepare_server_args

settings = prepare_server_args({arguments!r})
settings.resolve_once()
scheduler = subprocess.run([sys.executable, "-c", {loads!r}, settings.model_path])
sys.exit(scheduler.returncode)
"""
SCHEDULER = """
import hashlib, sys
from sglang.srt.plugins import load_plugins

load_plugins()
from sglang.srt.model_loader.loader import DefaultModelLoader, LoadConfig, ModelConfig

class Telling:
    def load_weights(self, weights):
        for name, tensor in weights:
            print(name, hashlib.sha256(tensor.tobytes()).hexdigest(), tensor.dtype, tensor.shape, flush=True)

DefaultModelLoader(LoadConfig()).load_model(model_config=ModelConfig(sys.argv[1]), model=Telling())
"""
ASK = "from vllm.engine.arg_utils import EngineArgs; EngineArgs(**{settings!r}).create_engine_config()"
SERVE = """
import json
from sglang.srt.plugins import load_plugins

load_plugins()
from sglang.srt.server_args import prepare_server_args

settings = prepare_server_args({arguments!r})
if hasattr(settings, "resolve_once"):
    settings.resolve_once()
print(json.dumps(settings.resolved))
"""


def settings(model: str, **others: object) -> dict[str, object]:
    """Of vLLM's EngineArgs."""
    return {"model": model, "load_format": "modeldist", **others}


def serve(*arguments: str) -> str:
    """`sglang serve --model-path …`"""
    return SERVE.format(arguments=["--model-path", *arguments])


def started(program: str, environment: Mapping[str, str], stand_ins: Path = STAND_INS) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**environment, "PYTHONPATH": str(stand_ins)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What it printed. AssertionError with its last words where it failed."""
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err[-3000:]
    return out


def failed(process: subprocess.Popen[str]) -> str:
    """The last words of one that must fail."""
    out, err = process.communicate(timeout=110)
    assert process.returncode != 0, out
    return err.strip().splitlines()[-1]
