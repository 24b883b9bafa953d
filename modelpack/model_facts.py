"""What a model says of itself: its config.json and its safetensors headers, as ModelPack's technical config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from modelpack.config import TechnicalConfig
from modelpack.config_schema import short_count
from modelpack.document import read_object
from modelpack.errors import InvalidConfig, InvalidSafetensors
from modelpack.safetensors_header import read_header
from modelpack.sources import SourceFile

_MAX_CONFIG_JSON = 16 * 1024 * 1024  # bytes
_MINOR = 0.01  # share of the elements below which a dtype does not count as the model's precision

PRECISIONS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0",
    "F6_E2M3": "float6_e2m3",
    "F6_E3M2": "float6_e3m2",
    "F4": "float4",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_FORMATS = (
    ("safetensors", (".safetensors",)),
    ("gguf", (".gguf",)),
    ("onnx", (".onnx",)),
    ("pytorch", (".bin", ".pt", ".pth")),
    ("tensorflow", (".h5", ".pb", ".tflite")),
)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """`name` and `family` may be empty; `warnings` are sentences about files that could not be read."""

    name: str
    family: str
    technical: TechnicalConfig
    warnings: tuple[str, ...]


def model_facts(files: Iterable[SourceFile]) -> ModelFacts:
    """Read config.json and the headers of all safetensors files. Depends on nothing but the files' content."""
    files = tuple(files)
    warnings: list[str] = []
    document = _config_json(files, warnings)
    dtypes = _dtypes(files, warnings)
    quantization = document.get("quantization_config")
    technical = TechnicalConfig(
        architecture="transformer" if "transformers_version" in document else "",
        format=_format(files),
        param_size=short_count(sum(dtypes.values())) if dtypes else "",
        precision=_precision(dtypes) or _text(document, "torch_dtype") or _text(document, "dtype"),
        quantization=_text(quantization, "quant_method"),
    )
    name = _text(document, "_name_or_path").rstrip("/").rpartition("/")[2]
    return ModelFacts(name, _text(document, "model_type"), technical, tuple(warnings))


def _config_json(files: tuple[SourceFile, ...], warnings: list[str]) -> dict[str, Any]:
    for file in files:
        if file.path == "config.json":
            try:
                with file.file.open("rb") as opened:
                    raw = opened.read(_MAX_CONFIG_JSON + 1)
                return read_object(raw, limit=_MAX_CONFIG_JSON, what="config.json", error=InvalidConfig)
            except InvalidConfig as problem:
                warnings.append(problem.message)
    return {}


def _dtypes(files: tuple[SourceFile, ...], warnings: list[str]) -> Counter[str]:
    weights = [file for file in files if file.path.lower().endswith(".safetensors")]
    split = [file for file in weights if not _is_consolidated(file)]
    counts: Counter[str] = Counter()
    for file in split or weights:  # `consolidated*` repeats what the other files hold
        try:
            counts.update(read_header(file.file, name=file.path).dtypes)
        except InvalidSafetensors as problem:
            warnings.append(problem.message)
    return counts


def _is_consolidated(file: SourceFile) -> bool:
    return file.path.rpartition("/")[2].startswith("consolidated")


def _precision(dtypes: Counter[str]) -> str:
    total = sum(dtypes.values())
    main = [dtype for dtype, count in dtypes.items() if count >= total * _MINOR and dtype in PRECISIONS]
    return ",".join(PRECISIONS[dtype] for dtype in sorted(main, key=lambda dtype: (-dtypes[dtype], dtype)))


def _format(files: tuple[SourceFile, ...]) -> str:
    names = [file.path.lower() for file in files]
    return next((name for name, suffixes in _FORMATS if any(path.endswith(suffixes) for path in names)), "")


def _text(members: Any, name: str) -> str:
    value = members.get(name) if isinstance(members, dict) else None
    return value if isinstance(value, str) else ""
