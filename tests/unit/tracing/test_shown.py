"""Nothing secret of a reference is told."""

from __future__ import annotations

import pytest

from modeldist.tracing import shown


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("org/model:tag", "org/model:tag"),
        ("registry.example:5000/org/model@sha256:aa", "registry.example:5000/org/model@sha256:aa"),
        ("model@sha256:aa", "model@sha256:aa"),
        ("hf://org/model@main", "hf://org/model@main"),
        ("hf://gpt2@main", "hf://gpt2@main"),
        ("modelscope://org/model@v1", "modelscope://org/model@v1"),
        ("hf://org/model@main#only=*.json&rank=tp=0/4", "hf://org/model@main#only=*.json&rank=tp=0/4"),
        ("https://host/m.safetensors?X-Amz-Signature=secret", "https://host/m.safetensors"),
        ("https://user:secret@host/m", "https://host/m"),
        ("https://user:se/cret@host/m?a=secret#only=*.json", "https://user:se/cret@host/m#only=*.json"),
        ("https://host/m#token=secret", "https://host/m"),
        ("https://host/m#only=x?token=secret", "https://host/m"),
        ("user:secret@registry.example/org/model", "registry.example/org/model"),
        ("s3://key:secret@bucket/model", "s3://bucket/model"),
        ("file:///models/m?x=secret", "file:///models/m"),
        ("https://a?u=https://b:secret@c/", "https://a"),
        ("org/model?u=https://b:secret@c/", "org/model"),
        ("", ""),
    ],
)
def test_shown(reference: str, told: str) -> None:
    assert shown(reference) == told


def test_it_is_short() -> None:
    assert len(shown("https://host/" + "x" * 10_000)) <= 500
