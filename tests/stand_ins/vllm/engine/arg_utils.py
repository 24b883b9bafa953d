"""vllm/engine/arg_utils.py"""

from dataclasses import dataclass, field
from typing import Any

from vllm.config import LoadConfig, ModelConfig, VllmConfig


@dataclass
class EngineArgs:
    model: str
    served_model_name: str | list[str] | None = None
    tokenizer: str | None = None
    load_format: str = "auto"
    revision: str | None = None
    model_loader_extra_config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from vllm.plugins import load_general_plugins

        load_general_plugins()

    def create_model_config(self) -> ModelConfig:
        return ModelConfig(self.model, self.tokenizer, self.revision, self.served_model_name)

    def create_load_config(self) -> LoadConfig:
        return LoadConfig(self.load_format, self.model_loader_extra_config)

    def create_engine_config(self, usage_context: Any = None, headless: bool = False) -> VllmConfig:
        model_config = self.create_model_config()
        self.model = model_config.model
        self.tokenizer = model_config.tokenizer
        return VllmConfig(model_config, self.create_load_config())


@dataclass
class AsyncEngineArgs(EngineArgs):
    enable_log_requests: bool = False
