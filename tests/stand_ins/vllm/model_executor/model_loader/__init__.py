"""vllm/model_executor/model_loader: the registry, the base class, and a default that names what it reads."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllm.config import LoadConfig, ModelConfig, VllmConfig


class BaseModelLoader(ABC):
    def __init__(self, load_config: LoadConfig) -> None:
        self.load_config = load_config

    @abstractmethod
    def download_model(self, model_config: ModelConfig) -> None: ...

    @abstractmethod
    def load_weights(self, model: Any, model_config: ModelConfig) -> None: ...

    def load_model(self, vllm_config: VllmConfig, model_config: ModelConfig, prefix: str = "") -> dict[str, bytes]:
        model: dict[str, bytes] = {}
        self.load_weights(model, model_config)
        return model


class DefaultModelLoader(BaseModelLoader):
    def __init__(self, load_config: LoadConfig) -> None:
        super().__init__(load_config)
        if unexpected := set(load_config.model_loader_extra_config) - {"enable_multithread_load", "num_threads"}:
            raise ValueError(f"Unexpected extra config keys for load format {load_config.load_format}: {unexpected}")

    def download_model(self, model_config: ModelConfig) -> None:
        self._files(model_config)

    def load_weights(self, model: Any, model_config: ModelConfig) -> None:
        model.update({str(file): file.read_bytes() for file in self._files(model_config)})

    def get_all_weights(self, model_config: ModelConfig, model: Any) -> Any:
        return ((str(file), file.read_bytes()) for file in self._files(model_config))

    def _files(self, model_config: ModelConfig) -> list[Path]:
        files = sorted(Path(model_config.model).glob("*.safetensors"))
        if not files:
            raise RuntimeError(f"Cannot find any model weights with `{model_config.model}`")
        return files


_LOAD_FORMAT_TO_MODEL_LOADER: dict[str, type[BaseModelLoader]] = {
    "auto": DefaultModelLoader,
    "safetensors": DefaultModelLoader,
}


def register_model_loader(load_format: str) -> Callable[[type[BaseModelLoader]], type[BaseModelLoader]]:
    def _wrapper(model_loader_cls: type[BaseModelLoader]) -> type[BaseModelLoader]:
        if not issubclass(model_loader_cls, BaseModelLoader):
            raise ValueError("The model loader must be a subclass of `BaseModelLoader`.")
        _LOAD_FORMAT_TO_MODEL_LOADER[load_format] = model_loader_cls
        return model_loader_cls

    return _wrapper


def get_model_loader(load_config: LoadConfig) -> BaseModelLoader:
    load_format = load_config.load_format
    if load_format not in _LOAD_FORMAT_TO_MODEL_LOADER:
        raise ValueError(f"Load format `{load_format}` is not supported")
    return _LOAD_FORMAT_TO_MODEL_LOADER[load_format](load_config)
