"""Modelfiles and Kitfiles from anywhere, and plans from weight files with anything in their headers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from modelpack.errors import InvalidModelfile
from modelpack.modelfile import plan_kitfile
from tests.fuzz.targets import kitfile, modelfile, tensors
from tests.unit.modelpack.test_hostile_documents import anything

words = st.sampled_from(
    ["NAME", "model", "CONFIG", "DOC", "ARCH", "#", '"', "\\", "*.json", "a b", "é", "\t", "\x1b", ""]
)


@given(st.lists(st.lists(words, max_size=4).map(" ".join), max_size=6).map("\n".join), st.sampled_from(["", "\ufeff"]))
def test_any_modelfile(text, mark):
    modelfile.check((mark + text).encode())
    modelfile.check(text.replace("\n", "\r\n").encode("utf-16"))


paths = st.sampled_from([".", "model.gguf", "docs", "src/*.py", "../x", "/x", "nothing", "", 7])
entries = st.fixed_dictionaries({}, optional={"path": paths, "name": anything, "license": anything})
kits = st.fixed_dictionaries(
    {"manifestVersion": st.sampled_from(["1.0.0", "v1", 1, 2, None])},
    optional={
        "model": entries | anything,
        "package": st.fixed_dictionaries({}, optional={"name": anything, "authors": anything, "license": anything})
        | anything,
        "docs": st.lists(entries, max_size=2) | anything,
        "code": st.lists(entries | anything, max_size=2),
        "datasets": st.lists(entries, max_size=2),
    },
)


@given(kits)
def test_any_kitfile(document):
    kitfile.check(json.dumps(document).encode())  # JSON is YAML


@pytest.mark.parametrize("raw", [b"a: [" * 100, b"- " * 5000, b"[" * 100_000, b"a: [" + b"[],[]," * 100_000 + b"]"])
def test_endless_yaml(raw, tmp_path):
    """It is refused where a limit is reached, not when all has been read."""
    with pytest.raises(InvalidModelfile, match=r"nested deeper|more than 200000 parts|is no YAML"):
        plan_kitfile(raw, tmp_path)


counts = st.sampled_from([0, 1, 2, 4, 7, 2**31, -1, None, "x", True])
model_configs = st.dictionaries(
    st.sampled_from(
        ["num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "head_dim", "num_experts"]
    ),
    counts,
) | st.dictionaries(st.sampled_from(["text_config", "quantization_config", "tie_word_embeddings"]), anything)
selections = st.sampled_from(["rank=tp=0/2", "rank=tp=1/3,ep=1/2", "rank=pp=1/2", "tensor=*norm*&rank=tp=0/4", ""])
shapes = st.lists(st.sampled_from([0, 1, 2, 3, 4, 8]), max_size=3).map(tuple)
tensor_names = st.sampled_from(
    [
        *(f"model.layers.{n}.self_attn.{p}_proj.weight" for n in range(2) for p in "qkvo"),
        *("model.layers.0.mlp.experts.1.up_proj.weight", "model.norm.weight", "lm_head.weight", "layers.9.x", "\u202e"),
    ]
)


@given(selections, model_configs, st.dictionaries(tensor_names, shapes, max_size=6))
def test_any_plan(selection, config, wanted):
    weights = save({name: np.zeros(shape, np.float16) for name, shape in wanted.items()})
    index = {"weight_map": dict.fromkeys(wanted, "model.safetensors")}
    parts = (selection, json.dumps(config), json.dumps(index))
    tensors.check(b"\0".join(part.encode() for part in parts) + b"\0" + weights)
