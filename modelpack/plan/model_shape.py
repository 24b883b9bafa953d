"""What a model's config.json says that decides which rank loads what."""

from __future__ import annotations

from typing import Any

import msgspec

MAX_CONFIG = 4 * 1024 * 1024  # bytes of a config.json that are read
_SLICEABLE = frozenset({"", "fp8", "compressed-tensors"})
"""Ways of quantising that leave a `.weight` with one row per output; others pack or transpose them."""


class ModelShape(msgspec.Struct, frozen=True):
    """Zero: not said. `tied`: whether the output layer may be the embedding; unknown counts as tied."""

    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    experts: int = 0
    tied: bool = True
    drafts: bool = False  # layers behind the last that predict further tokens
    encoder_decoder: bool = False
    sliceable: bool = True  # rows of `.weight` are outputs


def model_shape(document: dict[str, Any]) -> ModelShape:
    """From a config.json; a multimodal model's language model is meant (`text_config`, `llm_config`)."""
    inner: dict[str, Any] = next(
        (document[key] for key in ("text_config", "llm_config") if isinstance(document.get(key), dict)), {}
    )
    config = {**document, **inner}
    heads = _count(config, "num_attention_heads", "n_head", "num_heads")
    hidden = _count(config, "hidden_size", "n_embd")
    quantised = config.get("quantization_config") or config.get("compression_config") or {}
    method = str(quantised.get("quant_method", "unknown")) if isinstance(quantised, dict) and quantised else ""
    return ModelShape(
        layers=_count(config, "num_hidden_layers", "n_layer", "num_layers"),
        heads=heads,
        kv_heads=_count(config, "num_key_value_heads"),
        head_dim=_count(config, "head_dim") or (hidden // heads if heads and hidden % heads == 0 else 0),
        experts=_count(config, "num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts"),
        tied=not _says_untied(document, inner),
        drafts=bool(_count(config, "num_nextn_predict_layers", "mtp_num_hidden_layers")),
        encoder_decoder=bool(document.get("is_encoder_decoder")),
        sliceable=method in _SLICEABLE,
    )


def _says_untied(document: dict[str, Any], inner: dict[str, Any]) -> bool:
    """Classes differ in what a missing key means, and in which of two configs they ask."""
    said = [part["tie_word_embeddings"] for part in (document, inner) if "tie_word_embeddings" in part]
    return bool(said) and all(each is False for each in said)


def _count(config: dict[str, Any], *keys: str) -> int:
    for key in keys:
        value = config.get(key)
        if type(value) is int and 0 < value < 1 << 31:
            return value
    return 0
