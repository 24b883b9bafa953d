"""sglang/srt/model_loader/loader.py: the default loader, which reads safetensors files by name.

numpy's arrays stand in for torch's tensors.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open


@dataclass
class LoadConfig:
    """sglang/srt/configs/load_config.py"""

    load_format: str = "auto"
    draft_model_idx: int | None = None


@dataclass
class ModelConfig:
    """sglang/srt/configs/model_config.py"""

    model_path: str
    revision: str | None = None


class DefaultModelLoader:
    @dataclass
    class Source:
        model_or_path: str
        revision: str | None
        prefix: str = ""
        fall_back_to_pt: bool = True

    def __init__(self, load_config: LoadConfig) -> None:
        self.load_config = load_config

    def load_model(self, *, model_config: ModelConfig, model: Any) -> Any:
        model.load_weights(self._get_all_weights(model_config, model))
        return model

    def _get_all_weights(self, model_config: ModelConfig, model: Any) -> Generator[tuple[str, Any], None, None]:
        yield from self._get_weights_iterator(self.Source(model_config.model_path, model_config.revision))
        for source in getattr(model, "secondary_weights", ()):
            yield from self._get_weights_iterator(source)

    def _get_weights_iterator(self, source: Source) -> Generator[tuple[str, Any], None, None]:
        files = sorted(Path(source.model_or_path).glob("*.safetensors"))
        if not files:
            raise RuntimeError(f"Cannot find any model weights with `{source.model_or_path}`")
        for file in files:
            with safe_open(file, "numpy") as opened:
                for name in opened.keys():  # noqa: SIM118 - no dict
                    yield source.prefix + name, opened.get_tensor(name)
