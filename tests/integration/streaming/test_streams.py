"""Tensors come while their model arrives, each right, and none of a wrong shard is the last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import modeldist
from modeldist.agent.this_node import Node, node
from modeldist.errors import IntegrityError, NotFound, Unsupported, UsageError
from modeldist.streaming.tensor_stream import TensorStream
from tests.integration.streaming.weights import model, raw, same, tensors
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault
from tests.servers.registry import Registry
from tests.servers.shell import Shell


def put(hub: Hub, here: Node, name: str, files: dict[str, bytes]) -> str:
    """Its reference."""
    hub.commit(f"org/{name}-{here.agent}", files)
    return f"hf://org/{name}-{here.agent}"


def test_tensors_come_before_the_model_is_all_there(hub: Hub, here: Node) -> None:
    reference = put(hub, here, "streamed", model(1, 2))
    hold = hub.fail(Fault(path="00002-of-00002", method="GET", hold_at=0, times=99))
    expected = {**tensors(1), **tensors(2)}
    with modeldist.stream(reference, framework="np", here=here) as stream:
        coming = iter(stream)
        found = dict(next(coming) for _ in tensors(1))
        assert set(found) == set(tensors(1)), "the other file is held"
        hold.until.set()
        found.update(coming)
        path = stream.wait_complete()
    assert found.keys() == expected.keys()
    assert all(same(found[name], expected[name]) for name in expected)
    assert all(array.flags.owndata or (array.base is not None and array.flags.writeable) for array in found.values())
    assert (path / "config.json").read_bytes() == b"{}"


def test_without_a_with_block_and_once_more_from_the_store(hub: Hub, here: Node) -> None:
    reference = put(hub, here, "twice", model(3))
    for _ in range(2):
        found = dict(modeldist.stream(reference, framework="np", here=here))
        assert all(same(found[name], array) for name, array in tensors(3).items())
    read = [r.body_bytes for r in hub.asked(reference.removeprefix("hf://") + "/resolve", "GET") if "model-" in r.path]
    assert sum(read) == len(model(3)["model-00001-of-00001.safetensors"])


def test_an_order_is_kept_and_its_bytes_are_read_first(hub: Hub, here: Node) -> None:
    reference = put(hub, here, "ordered", model(1, 2))
    order = ["layers.2.4.weight", "layers.1.0.weight", "layers.2.ids"]
    expected = {**tensors(1), **tensors(2)}
    with modeldist.stream(reference, framework="np", order=order, here=here) as stream:
        found = list(stream)
    assert [name for name, _ in found] == order
    assert all(same(array, expected[name]) for name, array in found)
    with (
        modeldist.stream(reference, framework="np", order=["layers.9"], here=here) as stream,
        pytest.raises(UsageError, match=r"layers\.9"),
    ):
        list(stream)


def test_of_a_wrong_shard_the_last_tensor_never_comes(hub: Hub, here: Node) -> None:
    reference = put(hub, here, "wrong", model(4, 5))
    hub.fail(Fault(path="00002-of-00002", method="GET", garble=True, times=999))
    found: list[str] = []
    with (
        modeldist.stream(reference, framework="np", here=here) as stream,
        pytest.raises(IntegrityError, match="00002-of-00002"),
    ):
        found += [name for name, _ in stream]
    assert len(found) < len({**tensors(4), **tensors(5)})


def test_a_header_that_is_none(hub: Hub, here: Node) -> None:
    reference = put(hub, here, "headless", {"model.safetensors": b"<html>" * 50_000})
    with (
        modeldist.stream(reference, framework="np", here=here) as stream,
        pytest.raises(IntegrityError, match=r"model\.safetensors is not a valid safetensors file"),
    ):
        list(stream)


def test_types_that_numpy_does_not_have(hub: Hub, here: Node) -> None:
    bits = np.arange(48, dtype=np.uint16)
    body = raw(
        {
            "b": ("BF16", (6, 8), bits.tobytes()),
            "e": ("F8_E4M3", (96,), bits.tobytes()),
            "s": ("F8_E8M0", (2, 48), bits.tobytes()),
            "f": ("F4", (4, 48), bits.tobytes()),
        }
    )
    found = dict(modeldist.stream(put(hub, here, "types", {"m.safetensors": body}), framework="np", here=here))
    kinds = [np.dtype(np.uint16), np.dtype(np.uint8), np.dtype(np.uint8)]
    if find_spec("ml_dtypes"):
        import ml_dtypes

        kinds = [np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e8m0fnu)]
    assert same(found["b"], bits.view(kinds[0]).reshape(6, 8))
    assert same(found["e"], bits.view(kinds[1]))
    assert same(found["s"], bits.view(kinds[2]).reshape(2, 48))
    assert same(found["f"], bits.view(np.uint8)), "half bytes stay as they are"


def test_files_are_chosen_and_names_that_meet_are_told(hub: Hub, here: Node) -> None:
    files = {
        "unet/model.safetensors": raw({"a": ("U8", (3,), b"abc")}),
        "vae/model.safetensors": raw({"a": ("U8", (3,), b"xyz")}),
    }
    reference = put(hub, here, "folders", files)
    found = dict(modeldist.stream(reference, framework="np", files="vae/*", here=here))
    assert found["a"].tobytes() == b"xyz"
    with pytest.raises(Unsupported, match="no safetensors files like tiger"):
        modeldist.stream(reference, framework="np", files="tiger*", here=here)
    with (
        modeldist.stream(reference, framework="np", order=["a"], here=here) as stream,
        pytest.raises(Unsupported, match="both have a tensor 'a'"),
    ):
        list(stream)


def test_what_cannot_be_streamed_says_so(hub: Hub, here: Node) -> None:
    with pytest.raises(Unsupported, match="no safetensors files"):
        modeldist.stream(put(hub, here, "gguf", {"model.gguf": b"GGUF"}), framework="np", here=here)
    with pytest.raises(NotFound):
        modeldist.stream("hf://org/nowhere", framework="np", here=here)
    with pytest.raises(UsageError, match="'jax'"):
        modeldist.stream("hf://org/nowhere", framework="jax", here=here)
    with pytest.raises(UsageError, match="numpy has no device"):
        modeldist.stream("hf://org/nowhere", framework="np", device="cuda", here=here)
    with pytest.raises(UsageError, match="tp=4/4"):
        modeldist.stream("hf://org/nowhere", framework="np", rank="tp=4/4", here=here)


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sys, modeldist.streaming; from modeldist.streaming import stream; import modeldist; modeldist.stream"
    code += "; print(*[name for name in ('numpy', 'torch') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


EMPTY = "model.layers.0.mlp.up_proj.zeros"  # between the rows of two others
HALF = "model.layers.1.mlp.half"  # of whose rows two are in a byte


def shared_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    names = {"self_attn.q_proj.weight": 1024, "mlp.up_proj.weight": 2048, "mlp.down_proj.weight": 1024}
    weights = {
        f"model.layers.{layer}.{name}": rng.random((rows, 1024), dtype=np.float32)
        for layer in range(2)
        for name, rows in names.items()
    }
    return dict(sorted({**weights, EMPTY: np.zeros((4, 0), np.float32)}.items()))


@pytest.fixture(scope="module")
def shared_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model in a registry, with a chunk table, of which ranks load rows."""
    folder = tmp_path_factory.mktemp("model")
    weights = {name: ("F32", array.shape, array.tobytes()) for name, array in shared_weights().items()}
    (folder / "model.safetensors").write_bytes(raw({**weights, HALF: ("F4", (2, 1), b"!")}))
    shape = {"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 8}
    (folder / "config.json").write_text(json.dumps({**shape, "hidden_size": 1024, "tie_word_embeddings": False}))
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        publisher = Shell(tmp_path_factory.mktemp("publisher"), MODELDIST_REGISTRY=registry.host)
        for command in (("build", str(folder), "-t", "org/model:v1"), ("push", "org/model:v1")):
            done = publisher.run(*command)
            assert done.returncode == 0, done.stderr
        yield f"{registry.host}/org/model:v1"


def test_a_stage_gets_its_layers(shared_model: str, tmp_path: Path) -> None:
    here = node(store=tmp_path, agent=False)
    found = dict(modeldist.stream(shared_model, framework="np", rank="pp=0/2", here=here))
    expected = {name: array for name, array in shared_weights().items() if ".layers.0." in name}
    assert found.keys() == expected.keys()
    assert all(same(found[name], array) for name, array in expected.items())


def test_a_rank_gets_its_rows(shared_model: str, tmp_path: Path) -> None:
    whole = shared_weights()
    here = node(store=tmp_path, agent=False)
    with modeldist.stream(shared_model, framework="np", rank="tp=1/4", here=here) as stream:
        assert isinstance(stream, TensorStream)
        found = dict(stream)
        assert found.keys() == {*whole, HALF}
        for name, array in ((name, found[name]) for name in whole):
            if "down_proj" in name or name == EMPTY:
                assert same(array, whole[name])
                continue
            rows = len(whole[name]) // 4
            assert stream.rows[name] == ((rows, 2 * rows),)
            assert same(array, whole[name][rows : 2 * rows])


_FEW_DESCRIPTORS = """
import resource, sys, modeldist
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print(len(dict(modeldist.stream(sys.argv[1], framework="np"))))
"""


def run(code: str, reference: str, hub: Hub, here: Node) -> list[str]:
    """What it printed."""
    options = {"MODELDIST_STORE": str(here.store), "MODELDIST_SOCKET": str(here.socket), "HF_ENDPOINT": hub.url}
    command = [sys.executable, "-W", "ignore", "-c", code, reference]
    done = subprocess.run(
        command, env={**os.environ, **options}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_model_may_have_more_files_than_a_process_descriptors(hub: Hub, here: Node) -> None:
    others = {f"vocabulary/{number}.txt": str(number).encode() for number in range(300)}
    reference = put(hub, here, "many-files", {**others, **model(8)})
    assert run(_FEW_DESCRIPTORS, reference, hub, here) == [str(len(tensors(8)))]


_FORKED = """
import os, sys, modeldist
with modeldist.stream(sys.argv[1], framework="np") as stream:
    coming = iter(stream)
    next(coming)
    if not (child := os.fork()):
        for take in (lambda: next(coming), lambda: next(iter(stream)), stream.wait_complete):
            try:
                take()
            except modeldist.errors.UsageError as error:
                print(error, flush=True)
        stream.close()
        os._exit(0)
    os.waitpid(child, 0)
    print(len(list(coming)))
"""


def test_a_process_that_was_forked_is_told_and_the_other_goes_on(hub: Hub, here: Node) -> None:
    """What brings the model is not in the new process: it would wait for ever."""
    reference = put(hub, here, "forked", model(6))
    *told, left = run(_FORKED, reference, hub, here)
    assert len(told) == 3 and all("of which this one was forked" in line for line in told)
    assert int(left) == len(tensors(6)) - 1
