"""vllm/config: the parts of it that travel to workers."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class LoadConfig:
    load_format: str = "auto"
    model_loader_extra_config: dict[str, Any] = field(default_factory=dict)
    safetensors_load_strategy: str | None = None


@dataclass
class ModelConfig:
    """Reads the model's config when it is made, by a name that must be a directory or a repository's on the hub."""

    model: str
    tokenizer: str | None = None
    revision: str | None = None
    served_model_name: str | list[str] | None = None
    hf_config: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        if not Path(self.model).is_dir():
            raise OSError(f"{self.model} is not a local folder and is not a valid model identifier")
        self.tokenizer = self.tokenizer or self.model
        self.hf_config = json.loads((Path(self.model) / "config.json").read_text())


@dataclass
class VllmConfig:
    model_config: ModelConfig
    load_config: LoadConfig
