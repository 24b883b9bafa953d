"""sglang/srt/server_args.py: a record that is sealed once it is looked at, which launchers have it do."""

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec


class ServerArgs(msgspec.Struct, dict=True):
    model_path: str
    tokenizer_path: str | None = None
    revision: str | None = None
    served_model_name: str | None = None
    load_format: str = "auto"

    def resolve_once(self) -> None:
        self.resolved = resolved(self)
        self._input_frozen = True

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "_input_frozen", False):
            raise AttributeError(f"server_args.{name} assigned during resolution")
        super().__setattr__(name, value)


def resolved(settings: ServerArgs) -> dict[str, Any]:
    if not Path(settings.model_path).is_dir():
        raise OSError(f"{settings.model_path} is not a local folder and is not a valid model identifier")
    served = settings.served_model_name or settings.model_path
    assert ":" not in served, "served_model_name cannot contain a colon (':') character."
    return {
        "model_path": settings.model_path,
        "tokenizer_path": settings.tokenizer_path or settings.model_path,
        "revision": settings.revision,
        "served_model_name": served,
        "hf_config": json.loads((Path(settings.model_path) / "config.json").read_text()),
    }


def prepare_server_args(argv: list[str]) -> ServerArgs:
    parser = argparse.ArgumentParser(prog="sglang serve")
    for name in ("model-path", "tokenizer-path", "revision", "served-model-name"):
        parser.add_argument(f"--{name}")
    given = vars(parser.parse_args(argv))
    return ServerArgs(**{name: given[name] for name in ServerArgs.__annotations__ if name in given})
