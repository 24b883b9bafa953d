"""The 15 artifacts of the dialect collection: each with its expected verdict, files and warnings, in both modes."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.errors import DigestMismatch, ModelPackError, SizeMismatch, UnsafeName
from modelpack.layout import OciLayout
from modelpack.tarlayer import extract_tar
from modelpack.verify import verify_layout
from tests.servers.dialects import cases, layout_of, needs_collection

pytestmark = needs_collection

FILES = {
    "cncf-raw-modctl-0.2.1": {"config.json", "sub/model.safetensors"},
    "cncf-v0.0.7-embedding": {"m.bin"},
    "cnai-modctl-0.2.2-camel": {"m.bin"},
    "aikit-tar-category": {"config.json", "tokenizer.json"},
    "docker-v0.2-files": {"text_encoder/model.safetensors", "config.json"},
    "olot-title-only": {"models/model.joblib"},
    "no-artifact-type": {"m.bin"},
    "ollama": {"model.gguf", "LICENSE"},
}
REASONS: dict[str, type[ModelPackError]] = {
    "hostile-path-traversal": UnsafeName,
    "hostile-path-absolute": UnsafeName,
    "hostile-path-nul": UnsafeName,
    "hostile-duplicate-path": UnsafeName,
    "hostile-tar-symlink-escape": UnsafeName,
    "hostile-size-mismatch": SizeMismatch,
}


def unpacked(layout: OciLayout, case: str, destination: Path) -> set[str]:
    """What the artifact becomes on disk."""
    found = set()
    for file in verify_layout(layout, case).files:
        if file.encoding == "raw":
            found.add(file.path)
        else:
            with layout.blobs.open(file.descriptor) as blob:
                found |= {made.path for made in extract_tar(blob, file.encoding, destination).files}
    return found


@pytest.mark.parametrize("mode", ["strict", "lenient"])
@pytest.mark.parametrize("case", FILES)
def test_accepted(tmp_path, case, mode):
    assert cases[case]["expect"].startswith("accept")
    layout = layout_of(case, tmp_path / "layout")
    artifact = verify_layout(layout, case, mode=mode)
    warned = [deviation.code for deviation in artifact.deviations if deviation.severity != "note"]
    expects_warning = "warn" in cases[case]["expect"] or case == "aikit-tar-category"  # its config is an empty object
    assert bool(warned) is expects_warning
    assert unpacked(layout, case, tmp_path / "tree") == FILES[case]


@pytest.mark.parametrize("mode", ["strict", "lenient"])
@pytest.mark.parametrize("case", REASONS)
def test_rejected_in_either_mode(tmp_path, case, mode):
    assert cases[case]["expect"] == "reject"
    layout = layout_of(case, tmp_path / "layout")
    with pytest.raises(REASONS[case]):
        verify_layout(layout, case, mode=mode)


def test_a_wrong_diff_id_is_refused_or_reported(tmp_path):
    case = "hostile-diffid-mismatch"
    assert cases[case]["expect"] == "reject in strict, warn in lenient"
    layout = layout_of(case, tmp_path / "layout")
    with pytest.raises(DigestMismatch):
        verify_layout(layout, case, mode="strict")
    assert [deviation.code for deviation in verify_layout(layout, case, mode="lenient").deviations] == [
        "diff-id-mismatch"
    ]


def test_every_case_has_its_test():
    assert cases.keys() == FILES.keys() | REASONS.keys() | {"hostile-diffid-mismatch"}
    assert len(cases) == 15
