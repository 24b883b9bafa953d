"""Plans by the library alone: of a model in a layout and in a real registry, the same to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from modelpack.build import build
from modelpack.layout import OciLayout
from modelpack.oci.client import RegistryClient
from modelpack.oci.planning import plan_in_registry
from modelpack.oci.transfer import push
from modelpack.plan.layouts import plan_in_layout
from modelpack.plan.selection import Selection
from modelpack.reference import Reference
from tests.servers.registry import Registry

CONFIG = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "hidden_size": 512}


def model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tensors = {
        f"model.layers.{layer}.{name}.weight": np.ones((512, 512), np.float32) * layer
        for layer in range(2)
        for name in ("self_attn.q_proj", "self_attn.o_proj")
    }
    save_file(tensors, folder / "model.safetensors")
    return folder


async def test_a_layout_and_a_registry_give_one_plan(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path / "layout")
    build(model(tmp_path / "model"), layout, ref="v1")
    selection = Selection.of(rank="tp=1/2,pp=0/2")
    here = plan_in_layout(layout, "v1", selection)
    weights = next(file for file in here.files if file.path == "model.safetensors")
    assert len(weights.ranges) >= 2 and weights.needed < 0.45 * weights.size
    with Registry(tmp_path / "registry") as registry:
        async with RegistryClient(plain_http={registry.host}) as client:
            ref = Reference.parse(f"{registry.host}/org/model:v1")
            await push(layout, "v1", ref, client)
            registry.clear_log()
            there = await plan_in_registry(ref, client, selection)
            read = registry.blob_bytes()
            everything = await plan_in_registry(ref, client)
    assert [(file.path, file.ranges) for file in there.files] == [(file.path, file.ranges) for file in here.files]
    assert there.digest == here.digest
    assert read < 150_000  # the config, the chunk table, config.json and one header's first read
    assert everything.needed == everything.size
