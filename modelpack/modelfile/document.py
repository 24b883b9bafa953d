"""A Modelfile as values, and written back as text."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from modelpack.mediatypes import LayerKind

KINDS: dict[str, LayerKind] = {
    "CONFIG": "weight.config",
    "MODEL": "weight",
    "CODE": "code",
    "DATASET": "dataset",
    "DOC": "doc",
}
"""Commands that name files, once per pattern."""

_ABOUT = {
    "NAME": "Model name",
    "ARCH": "Model architecture (such as transformer, cnn, rnn)",
    "FAMILY": "Model family (such as llama3, qwen2, gpt2)",
    "FORMAT": "Model format (such as safetensors, onnx, gguf)",
    "PARAMSIZE": "Number of parameters (such as 8b, 0.6b)",
    "PRECISION": "Precision (such as bf16, fp16, int8)",
    "QUANTIZATION": "Quantization (such as awq, gptq)",
}
SINGLE = tuple(_ABOUT)
"""Commands with one value, at most once."""

_HEADINGS = {
    "CONFIG": "Files that configure the model",
    "MODEL": "Weights",
    "CODE": "Code",
    "DATASET": "Datasets",
    "DOC": "Documents",
}


class Pattern(NamedTuple):
    """Which files: a glob (`**` stands for any number of directories), and where it was written (0: nowhere)."""

    command: str
    glob: str
    line: int = 0

    @property
    def kind(self) -> LayerKind:
        return KINDS[self.command]


@dataclass(frozen=True, slots=True)
class Modelfile:
    """Empty texts are commands that are absent; `patterns` are in the order they were written."""

    name: str = ""
    arch: str = ""
    family: str = ""
    format: str = ""
    paramsize: str = ""
    precision: str = ""
    quantization: str = ""
    patterns: tuple[Pattern, ...] = ()

    def text(self) -> str:
        """As a file; parsing it gives the same values."""
        parts = []
        for field in fields(self):
            command = field.name.upper()
            if command in _ABOUT and (value := getattr(self, field.name)):
                parts.append(f"# {_ABOUT[command]}\n{command} {quoted(value)}\n")
        for command in KINDS:
            lines = [f"{command} {quoted(pattern.glob)}\n" for pattern in self.patterns if pattern.command == command]
            if lines:
                parts.append(f"# {_HEADINGS[command]}\n{''.join(lines)}")
        return "\n".join(parts)


def quoted(value: str) -> str:
    """A value as one argument."""
    if value and not any(character.isspace() or character in '"\\#' for character in value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(path: str) -> str:
    """A glob that matches this path and no other."""
    return "".join(f"\\{character}" if character in "*?[]{}\\" else character for character in path)
