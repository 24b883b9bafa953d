"""Tensors inside weight files, found by ranged reads of the headers alone: safetensors and GGUF."""
