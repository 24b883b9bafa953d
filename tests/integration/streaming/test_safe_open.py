"""`safe_open` of a model that arrives is safetensors' own, with a reference in place of a file name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors
from safetensors import SafetensorError
from safetensors.numpy import save

from modeldist.agent.this_node import Node
from modeldist.errors import IntegrityError, Unsupported
from modeldist.streaming import safe_open
from tests.integration.streaming.test_streams import put
from tests.integration.streaming.weights import model, raw, same, tensors
from tests.servers.hub import Hub
from tests.servers.loopback_http import Fault

INDEXES = (
    slice(None),
    slice(10, 20),
    slice(-5, None),
    slice(3, 200, 7),
    7,
    -1,
    (slice(2, 9), slice(1, 4)),
    (slice(None), slice(3, 5)),
    (4, slice(None, 3)),
    (slice(5, 6), 2),
)


def test_it_is_what_safetensors_gives(hub: Hub, here: Node, tmp_path: Path) -> None:
    body = save(tensors(8), {"format": "pt", "by": "test"})
    (tmp_path / "model.safetensors").write_bytes(body)
    reference = put(hub, here, "opened", {"model.safetensors": body})
    with (
        safetensors.safe_open(tmp_path / "model.safetensors", "np") as theirs,
        safe_open(reference, "np", here=here) as ours,
    ):
        assert ours.keys() == list(theirs.keys())
        assert ours.offset_keys() == list(theirs.offset_keys())
        assert ours.metadata() == theirs.metadata()
        for name in theirs.keys():  # noqa: SIM118
            assert same(ours.get_tensor(name), theirs.get_tensor(name))
            assert ours.get_slice(name).get_shape() == theirs.get_slice(name).get_shape()
            assert ours.get_slice(name).get_dtype() == theirs.get_slice(name).get_dtype()
        name = "layers.8.2.weight"
        for index in INDEXES:
            expected = theirs.get_tensor(name)[index]
            assert np.array_equal(ours.get_slice(name)[index], expected), index
        for opened in (ours, theirs):
            with pytest.raises(SafetensorError, match="nothing"):
                opened.get_tensor("nothing")
        with pytest.raises(SafetensorError, match="9999"):
            ours.get_slice(name)[9999]
        assert ours.get_tensors().keys() == set(theirs.keys())


def test_a_slice_waits_for_no_more_than_itself(hub: Hub, here: Node) -> None:
    reference = put(hub, here, "sliced", model(9, 10, rows=1024))
    hold = hub.fail(Fault(path="00001-of-00002", method="GET", hold_at=0, times=99))
    with safe_open(reference, "np", files="*-00002-*", here=here) as opened:
        name = "layers.10.3.weight"
        assert same(opened.get_slice(name)[100:164], tensors(10, rows=1024)[name][100:164])
        assert "layers.9.3.weight" not in opened.keys()  # noqa: SIM118
        hold.until.set()


def test_a_model_of_several_files_is_one(hub: Hub, here: Node) -> None:
    expected = {**tensors(11), **tensors(12)}
    with safe_open(put(hub, here, "many", model(11, 12)), "np", here=here) as opened:
        assert opened.keys() == sorted(expected)
        assert all(same(array, expected[name]) for name, array in opened.get_tensors().items())
        assert opened.metadata() == {"format": "pt"}


def test_leaving_it_says_what_proved_wrong(hub: Hub, here: Node) -> None:
    reference = put(hub, here, "later", model(13))
    hold = hub.fail(Fault(path=".safetensors", method="GET", garble=True, hold_at=1 << 20, times=999))
    with pytest.raises(IntegrityError), safe_open(reference, "np", here=here) as opened:
        file = opened.model.files["model-00001-of-00001.safetensors"]
        file.wait(0, 1000)
        hold.until.set()
        opened.get_tensors()


def test_elements_of_less_than_a_byte_have_no_slices(hub: Hub, here: Node) -> None:
    data = bytes(range(18))
    body = raw({"f": ("F4", (4, 9), data)})
    with safe_open(put(hub, here, "half-bytes", {"m.safetensors": body}), "np", here=here) as opened:
        found = opened.get_slice("f")
        for whole in (found[:], found[...], found[:, :], opened.get_tensor("f")):
            assert whole.tobytes() == data
        for index in (1, slice(1, 3), (slice(None), 2)):
            with pytest.raises(Unsupported, match="less than a byte"):
                found[index]
