"""sglang/srt/server_args.py"""

import argparse
import json
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass
class ServerArgs:
    model_path: str
    tokenizer_path: str | None = None
    revision: str | None = None
    served_model_name: str | None = None
    load_format: str = "auto"

    def __post_init__(self) -> None:
        if self.tokenizer_path is None:
            self.tokenizer_path = self.model_path
        if self.served_model_name is None:
            self.served_model_name = self.model_path
        if not Path(self.model_path).is_dir():
            raise OSError(f"{self.model_path} is not a local folder and is not a valid model identifier")
        self.hf_config = json.loads((Path(self.model_path) / "config.json").read_text())


def prepare_server_args(argv: list[str]) -> ServerArgs:
    parser = argparse.ArgumentParser(prog="sglang serve")
    for each in fields(ServerArgs):
        parser.add_argument(f"--{each.name.replace('_', '-')}", default=each.default)
    return ServerArgs(**vars(parser.parse_args(argv)))
