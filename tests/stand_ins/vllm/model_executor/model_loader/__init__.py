"""vllm/model_executor/model_loader: the registry, the base class, and the default, which reads safetensors by name.

numpy's arrays stand in for torch's tensors.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from vllm.config import LoadConfig, ModelConfig, VllmConfig


class Model:
    """Models take weights one after the other, and say which they took."""

    def __init__(self, model_config: ModelConfig) -> None:
        self.directory = model_config.model
        self.weights: dict[str, Any] = {}

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> set[str]:
        self.weights.update(weights)
        return set(self.weights)


class BaseModelLoader(ABC):
    def __init__(self, load_config: LoadConfig) -> None:
        self.load_config = load_config

    @abstractmethod
    def download_model(self, model_config: ModelConfig) -> None: ...

    @abstractmethod
    def load_weights(self, model: Any, model_config: ModelConfig) -> None: ...

    def load_model(self, vllm_config: VllmConfig, model_config: ModelConfig, prefix: str = "") -> Model:
        model = Model(model_config)
        self.load_weights(model, model_config)
        return model


class DefaultModelLoader(BaseModelLoader):
    @dataclass
    class Source:
        model_or_path: str
        revision: str | None
        prefix: str = ""

    counter_before_loading_weights: float = 0.0
    counter_after_loading_weights: float = 0.0

    def __init__(self, load_config: LoadConfig) -> None:
        super().__init__(load_config)
        if unexpected := set(load_config.model_loader_extra_config) - {"enable_multithread_load", "num_threads"}:
            raise ValueError(f"Unexpected extra config keys for load format {load_config.load_format}: {unexpected}")

    def download_model(self, model_config: ModelConfig) -> None:
        self._prepare_weights(model_config.model)

    def load_weights(self, model: Any, model_config: ModelConfig) -> None:
        model.load_weights(self.get_all_weights(model_config, model))
        self.counter_after_loading_weights = time.perf_counter()
        assert self.counter_before_loading_weights > 0.0, "vLLM would log a time since the machine started"

    def get_all_weights(self, model_config: ModelConfig, model: Any) -> Generator[tuple[str, Any], None, None]:
        yield from self._get_weights_iterator(self.Source(model_config.model, model_config.revision))
        for source in getattr(model, "secondary_weights", ()):
            yield from self._get_weights_iterator(source)

    def _get_weights_iterator(self, source: Source) -> Generator[tuple[str, Any], None, None]:
        files = self._prepare_weights(source.model_or_path)
        if self.counter_before_loading_weights == 0.0:
            self.counter_before_loading_weights = time.perf_counter()
        for file in files:
            with safe_open(file, "numpy") as opened:
                for name in opened.keys():  # noqa: SIM118 - no dict
                    yield source.prefix + name, opened.get_tensor(name)

    def _prepare_weights(self, model_name_or_path: str) -> list[Path]:
        files = sorted(Path(model_name_or_path).glob("*.safetensors"))
        if not files:
            raise RuntimeError(f"Cannot find any model weights with `{model_name_or_path}`")
        return files


_LOAD_FORMAT_TO_MODEL_LOADER: dict[str, type[BaseModelLoader]] = {
    "auto": DefaultModelLoader,
    "hf": DefaultModelLoader,
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
