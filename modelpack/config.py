"""The model config: typed, as the specification's main branch has it, and written back deterministically.

`modelpack.config_schema` holds the checks; this file holds the shape.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from modelpack.config_schema import check_document, old_names
from modelpack.deviations import Deviation, Deviations
from modelpack.document import read_object
from modelpack.errors import InvalidConfig

MAX_CONFIG_BYTES = 4 * 1024 * 1024

Modality = Literal["text", "image", "audio", "video", "embedding", "other"]


class ModelDescriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """Who made the model, and what it is called. All optional; empty means absent."""

    created_at: str = ""  # RFC 3339
    authors: tuple[str, ...] = ()
    vendor: str = ""
    family: str = ""
    name: str = ""
    version: str = ""
    title: str = ""
    description: str = ""
    doc_url: str = msgspec.field(name="docURL", default="")
    source_url: str = msgspec.field(name="sourceURL", default="")
    datasets_url: tuple[str, ...] = msgspec.field(name="datasetsURL", default=())
    revision: str = ""
    licenses: tuple[str, ...] = ()  # SPDX expressions


class Capabilities(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """What the model can do; None means it does not say."""

    input_types: tuple[Modality, ...] = ()
    output_types: tuple[Modality, ...] = ()
    knowledge_cutoff: str = ""  # RFC 3339
    reasoning: bool | None = None
    tool_usage: bool | None = None
    reward: bool | None = None
    languages: tuple[str, ...] = ()  # ISO 639, two letters
    embedding: bool | None = None  # version 0.0.7 only; read, never written by `modelpack.build`


class TechnicalConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """How the model is made. All optional; empty means absent."""

    architecture: str = ""
    format: str = ""
    param_size: str = ""  # such as 6.7b
    precision: str = ""
    quantization: str = ""
    capabilities: Capabilities | None = None


class ModelFS(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Digests of the uncompressed layers, in layer order."""

    type: Literal["layers"] = "layers"
    diff_ids: tuple[str, ...] = ()


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The config blob of a ModelPack."""

    descriptor: ModelDescriptor = ModelDescriptor()
    config: TechnicalConfig = TechnicalConfig()
    modelfs: ModelFS = ModelFS()


class ParsedConfig(msgspec.Struct, frozen=True):
    """A config and what was wrong with it (empty for one that follows the specification)."""

    config: ModelConfig
    deviations: tuple[Deviation, ...]


def parse_config(raw: bytes, *, strict: bool, old_version: bool = False) -> ParsedConfig:
    """Read a config blob of at most 4 MiB.

    Strict follows the specification's schema and raises InvalidConfig at the first breach. Lenient reads the names
    of older versions and leaves out what it cannot use, and says so; it raises InvalidConfig only for what is no
    JSON object. `old_version` allows the older names in strict mode too (for a config of the `cnai` media type).
    """
    document = read_object(raw, limit=MAX_CONFIG_BYTES, what="model config", error=InvalidConfig)
    deviations = Deviations("strict" if strict else "lenient")
    document, sentences = old_names(document)
    for sentence, pointer in sentences:
        if old_version:
            deviations.note("old-name", sentence, pointer)
        else:
            deviations.error("old-name", sentence, InvalidConfig, pointer)
    cleaned = check_document(document, deviations)
    return ParsedConfig(msgspec.convert(cleaned, ModelConfig), deviations.found())


def encode_config(config: ModelConfig) -> bytes:
    """The bytes of the config blob: equal configs give equal bytes."""
    return msgspec.json.encode(config, order="deterministic")
