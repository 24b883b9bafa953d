"""What a file is for, told from its name, for origins that do not say."""

from __future__ import annotations

from pathlib import PurePosixPath

from modeldist.artifact import LayerKind

_WEIGHTS = frozenset(
    (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack", ".ckpt", ".tflite", ".npz")
)
_CONFIGS = frozenset((".json", ".yaml", ".yml", ".toml", ".txt", ".model", ".jinja", ".tiktoken", ".vocab"))
_DOCS = frozenset((".md", ".rst", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg"))
_CODE = frozenset((".py", ".ipynb", ".sh", ".cpp", ".cu", ".h"))
_DOC_NAMES = ("readme", "license", "notice", "copying", "usage")


def kind_of(path: str) -> LayerKind:
    """`model.safetensors` -> weight, `config.json` -> weight.config, `README.md` -> doc, …"""
    name = PurePosixPath(path).name.lower()
    suffix = PurePosixPath(name).suffix
    if suffix in _WEIGHTS:
        return "weight"
    if suffix in _DOCS or name.startswith(_DOC_NAMES):
        return "doc"
    if suffix in _CODE:
        return "code"
    return "weight.config" if suffix in _CONFIGS else "other"
