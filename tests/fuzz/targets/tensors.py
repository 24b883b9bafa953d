"""Plans to the byte: whatever weight file, config, index and selection, the ranges lie in the file and have its header.

An input is a selection, a config.json, an index and a safetensors file, with NULs between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
from safetensors.numpy import save

from modelpack.digests import sha256_digest
from modelpack.plan.files import FetchPlan, ListedFile
from modelpack.plan.planning import plan_fetch
from modelpack.plan.selection import Selection
from modelpack.tensors.entries import ReadRange
from tests.fuzz.target import Target, json_words
from tests.refusals import check_sentence, value_of


def seeds() -> Iterator[bytes]:
    layers = {
        f"model.layers.{number}.{name}.weight": np.zeros(shape, np.float16)
        for number in range(2)
        for name, shape in {
            "self_attn.q_proj": (8, 4),
            "self_attn.k_proj": (4, 4),
            "self_attn.o_proj": (4, 8),
            "mlp.experts.0.down_proj": (4, 6),
            "mlp.experts.1.down_proj": (4, 6),
            "input_layernorm": (4,),
        }.items()
    }
    ends = {name: np.zeros((16, 4), np.float16) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    weights = save({**layers, **ends})
    config = {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 8,
        "num_local_experts": 2,
        "tie_word_embeddings": False,
    }
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(layers, "model.safetensors")}
    for selection in ("rank=tp=0/2", "rank=tp=1/4,pp=1/2,ep=0/2", "tensor=*norm*", "rank=ep=1/2", "kind=weight"):
        parts = (selection, json.dumps(config), json.dumps(index))
        yield b"\0".join(part.encode() for part in parts) + b"\0" + weights
    odd = b'{"text_config":{"head_dim":-1},"quantization_config":{"quant_method":7}}'
    yield b"\0".join((b"tensor=a", odd, b'{"weight_map":{"a":"../x"}}', save({"a": np.zeros((), np.uint8)})))


def check(data: bytes) -> None:
    text, _, rest = data.partition(b"\0")
    config, _, rest = rest.partition(b"\0")
    index, _, weights = rest.partition(b"\0")
    selection = value_of(partial(Selection.parse, text.decode(errors="replace")))
    if selection is None:
        return
    contents = {"config.json": config, "model.safetensors": weights, "model.safetensors.index.json": index}
    files = tuple(
        ListedFile(path, sha256_digest(raw), len(raw), "weight" if path.endswith("tensors") else "weight.config")
        for path, raw in contents.items()
    )

    def opened(file: ListedFile) -> ReadRange:
        raw = contents[file.path]
        return lambda start, length: raw[start : start + length]

    for proven in (True, False):
        plan = value_of(partial(plan_fetch, files, selection, opened, provable=lambda digest, proven=proven: proven))
        if plan is not None:
            check_plan(plan, proven)


def check_plan(plan: FetchPlan, proven: bool) -> None:
    assert 0 <= plan.needed <= plan.size
    for note in plan.notes:
        check_sentence(note)
    for file in plan.files:
        assert proven or not file.ranges
        before = -1
        for start, stop in file.ranges:
            assert before < start < stop <= file.size
            before = stop
        if file.ranges:
            assert file.ranges[0][0] == 0 and file.needed < file.size


WORDS = (
    *json_words(
        "num_hidden_layers num_attention_heads num_key_value_heads hidden_size head_dim text_config weight_map F32 U8 "
        "quantization_config num_local_experts tie_word_embeddings model.safetensors dtype shape data_offsets"
    ),
    *b"rank=tp=0/2 pp=1/2 ep=0/3 , & tensor=* only=*.json weights=all .experts.0. .layers.1. q_proj k_proj \0".split(
        b" "
    ),
    *(b"[0,4]", b"[2,4]", b"[4]", b"9223372036854775807"),
)
TARGET = Target("tensors", check, seeds, WORDS, longest=4096)
