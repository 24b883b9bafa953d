"""One model for each rule of lint, that breaks it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.servers.artifacts import (
    DOCKER_MANIFEST,
    FILEPATH,
    METADATA,
    TITLE,
    Document,
    Layer,
    Written,
    config_of,
    indexed,
    manifest_of,
    packed,
    raw,
    safetensors,
    sha256,
    tar,
    written,
)

TENSORS = safetensors({"a": ("F32", [2], bytes(8)), "b": ("BF16", [2, 2], bytes(8))})
WEIGHTS = raw("model.safetensors", TENSORS)
LICENSE = raw("LICENSE", b"MIT", "doc")
MODEL_JSON = raw("config.json", b"{}", "weight.config")
CLEAN = (WEIGHTS, LICENSE, MODEL_JSON)


def model(*layers: Layer, config: Any = None, **members: Any) -> Written:
    return written("model", layers or CLEAN, config=config, **members)


def described(**members: Mapping[str, Any]) -> Written:
    """The clean model with other members of its config."""
    return model(config=config_of(CLEAN, **members))


def technical(**members: Any) -> Written:
    return described(config=members)


def about(**members: Any) -> Written:
    return described(descriptor={"name": "tiny", "licenses": ["MIT"], **members})


def noted(layer: Layer, **annotations: str | None) -> Layer:
    """The layer with other annotations, by the names of these tests; None leaves one out."""
    keys = {"filepath": FILEPATH, "title": TITLE, "metadata": METADATA}
    changed = {**layer.annotations, **{keys.get(key, key): value for key, value in annotations.items()}}
    kept = {key: value for key, value in changed.items() if value is not None}
    return Layer(layer.media_type, layer.data, kept, layer.members, layer.diff_id)


def index(weight_map: Mapping[str, str], total: int | None = None) -> Layer:
    document = {"metadata": {} if total is None else {"total_size": total}, "weight_map": weight_map}
    return raw("model.safetensors.index.json", json.dumps(document).encode(), "weight.config")


def split(*parts: Sequence[str]) -> list[Layer]:
    """Files of a split model, by the names of their tensors."""
    total = len(parts)
    return [
        raw(f"model-{number:05}-of-{total:05}.safetensors", safetensors({name: ("U8", [1], b"x") for name in names}))
        for number, names in enumerate(parts, start=1)
    ]


def without(written_model: Written, data: bytes) -> Written:
    """The blob is missing."""
    kept = {digest: blob for digest, blob in written_model.blobs.items() if digest != sha256(data)}
    return Written(written_model.name, written_model.documents, kept)


def with_blob(written_model: Written, data: bytes, other: bytes) -> Written:
    return Written(written_model.name, written_model.documents, {**written_model.blobs, sha256(data): other})


def with_table(table: bytes) -> Written:
    """It names these bytes as its chunk table, and has them."""
    named = model(annotations={"org.modeldist.chunk-table": sha256(table)})
    return Written(named.name, named.documents, {**named.blobs, sha256(table): table})


def archive(data: bytes, label: str = "docs", kind: str = "doc", encoding: str = "tar") -> Written:
    return model(*CLEAN, packed(label, data, kind, encoding))


def blank_owner() -> bytes:
    """An archive whose entry has no owner."""
    block = bytearray(tar({"a.md": b"a"}))
    block[108:116] = bytes(8)
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block[:512]):06o}\0 ".encode()
    return bytes(block)


def cnai() -> Written:
    layer = Layer("application/vnd.cnai.model.weight.v1.raw", b"w", {"org.cnai.model.filepath": "m.gguf"})
    return model(layer, artifactType="application/vnd.cnai.model.manifest.v1+json")


def large_manifest() -> Written:
    return model(annotations={"x": "y" * 3_300_000})


def sha512() -> Written:
    return model(raw("m.gguf", b"GGUF", digest="sha512:" + hashlib.sha512(b"GGUF").hexdigest()))


def broken_document() -> Written:
    config = json.dumps(config_of(CLEAN)).encode()
    text = json.dumps(manifest_of(CLEAN, config)).replace('"layers":', '"layers":[],"layers":')
    return Written("model", (Document(text.encode()),), {sha256(config): config})


def docker() -> Written:
    layer = Layer("application/vnd.docker.ai.gguf.v3", b"GGUF\x03\0\0\0" + bytes(16))
    config_type = "application/vnd.docker.ai.model.config.v0.1+json"
    return written("model", [layer], config={}, config_type=config_type, artifactType=None)


def two_models() -> Written:
    typed = {"artifactType": "application/vnd.cncf.model.manifest.v1+json"}
    return indexed("model", [(model(), typed), (model(WEIGHTS), typed)])


def owners() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive_file:
        for number, name in enumerate(("a.md", "b.md")):
            info = tarfile.TarInfo(name)
            info.uid, info.uname = number, "somebody"
            archive_file.addfile(info)
    return out.getvalue()


def times() -> bytes:
    early, late = tarfile.TarInfo("a.md"), tarfile.TarInfo("b.md")
    late.mtime = 1
    return tar({"a.md": early, "b.md": late})


def attributes() -> bytes:
    info = tarfile.TarInfo("a.md")
    info.pax_headers = {"SCHILY.xattr.user.x": "y"}
    return tar({"a.md": info})


def header(entries: Mapping[str, Any], data: bytes = b"", pad: int = 0) -> bytes:
    text = json.dumps(entries).encode() + b" " * pad
    return len(text).to_bytes(8, "little") + text + data


def gguf(architecture: str = "llama", **numbers: int) -> bytes:
    """A GGUF file without tensors. `numbers` are of its metadata, an underscore for a dot."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = [text("general.architecture") + struct.pack("<I", 8) + text(architecture)] if architecture else []
    pairs += [text(key.replace("_", ".")) + struct.pack("<Ii", 5, value) for key, value in numbers.items()]
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)
    return data + bytes(-len(data) % 32)


def one(start: int, end: int) -> dict[str, Any]:
    """A tensor of one byte, wherever it says it lies."""
    return {"dtype": "U8", "shape": [1], "data_offsets": [start, end]}


BREAKS: dict[str, Callable[[], Written]] = {
    "MP101": broken_document,
    "MP102": lambda: model(mediaType=DOCKER_MANIFEST),
    "MP103": lambda: model(artifactType="application/x"),
    "MP104": lambda: written("model", CLEAN, config_type="application/x"),
    "MP105": cnai,
    "MP106": large_manifest,
    "MP107": sha512,
    "MP108": lambda: model(raw("model.safetensors", TENSORS, data=base64.b64encode(b"other").decode())),
    "MP109": lambda: model(raw("model.safetensors", TENSORS, urls=["https://example.org/x"])),
    "MP110": lambda: model(annotations={"org.opencontainers.image.created": "yesterday"}),
    "MP111": lambda: written("model", []),
    "MP112": docker,
    "MP201": lambda: model(Layer("application/vnd.oci.image.layer.v1.tar", tar({}), {FILEPATH: "x"})),
    "MP202": lambda: model(Layer("application/vnd.cncf.model.weight.v1.gguf", b"w")),
    "MP203": lambda: archive(tar({"model.gguf": b"GGUF"}), "model.gguf", "weight", "tar+gzip"),
    "MP204": lambda: archive(tar({"a.safetensors": TENSORS, "b.safetensors": TENSORS}), "all", "weight"),
    "MP205": lambda: model(noted(WEIGHTS, filepath=None)),
    "MP206": lambda: model(noted(WEIGHTS, title=None)),
    "MP207": lambda: model(noted(WEIGHTS, title="other.safetensors")),
    "MP208": lambda: model(noted(WEIGHTS, metadata=None)),
    "MP209": lambda: model(noted(WEIGHTS, metadata='{"mtime": "noon", "mode": -1}')),
    "MP210": lambda: model(noted(WEIGHTS, metadata='{"size": 7}')),
    "MP211": lambda: model(noted(WEIGHTS, **{"org.cncf.model.file.mediatype.untested": "yes"})),
    "MP212": lambda: model(raw("model.safetensors", TENSORS, "code")),
    "MP213": lambda: model(raw("model.gguf", b"")),
    "MP214": lambda: model(*CLEAN, Layer("application/vnd.cncf.model.doc.v1.raw", b"?")),
    "MP301": lambda: model(config=b"[]"),
    "MP302": lambda: described(extra={}),
    "MP303": lambda: model(config={"descriptor": {}}),
    "MP304": lambda: about(createdAt="yesterday"),
    "MP305": lambda: technical(parameterSize=7),
    "MP306": lambda: model(config=b"{}"),
    "MP307": lambda: described(modelfs={"type": "layers", "diffIds": [sha256(b"")]}),
    "MP308": lambda: described(modelfs={"type": "layers", "diffIds": [sha256(bytes([n])) for n in range(3)]}),
    "MP309": lambda: described(modelfs={"type": "layers", "diffIds": ["sha256:x"] * 3}),
    "MP310": lambda: technical(paramSize="7 billion"),
    "MP311": lambda: technical(precision="bf16"),
    "MP312": lambda: about(licenses=["Apache License 2.0"]),
    "MP313": lambda: about(licenses=["apache-2.0"]),
    "MP314": lambda: about(licenses=[]),
    "MP315": lambda: about(docURL="www.example.org/model"),
    "MP316": lambda: technical(capabilities={"embedding": True}),
    "MP317": lambda: technical(capabilities={"languages": ["xx"]}),
    "MP318": lambda: described(descriptor={"licenses": ["MIT"]}),
    "MP319": lambda: technical(format="gguf"),
    "MP320": lambda: technical(paramSize="7b"),
    "MP321": lambda: technical(precision="int8"),
    "MP322": lambda: about(licenses=["MIT", "MIT"]),
    "MP401": lambda: model(raw("../model.safetensors", TENSORS)),
    "MP402": lambda: model(raw("aux.safetensors", TENSORS)),
    "MP501": lambda: model(*CLEAN, raw("consolidated.safetensors", TENSORS)),
    "MP502": lambda: model(raw("pytorch_model.bin", b"\x80\x04.")),
    "MP503": lambda: model(*CLEAN, raw("model.safetensors.index.json", b"{}", "weight.config")),
    "MP504": lambda: model(*CLEAN, index({"a": "elsewhere.safetensors"})),
    "MP505": lambda: model(*CLEAN, index({"c": "model.safetensors"})),
    "MP506": lambda: model(*CLEAN, index({"a": "model.safetensors"})),
    "MP507": lambda: model(*CLEAN, index({"a": "model.safetensors"}), raw("extra.safetensors", TENSORS)),
    "MP508": lambda: model(*CLEAN, index({"a": "model.safetensors", "b": "model.safetensors"}, total=7)),
    "MP509": lambda: model(*split(["a"], ["b"], ["c"])[1:]),
    "MP510": lambda: model(raw("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
    "MP511": lambda: model(LICENSE),
    "MP512": lambda: model(*CLEAN, raw("pytorch_model.bin", b"\x80\x04.")),
    "MP513": lambda: model(*split(["a", "b"], ["b"])),
    "MP514": lambda: model(WEIGHTS),
    "MP515": lambda: model(WEIGHTS),
    "MP601": lambda: model(raw("model.safetensors", header({"a": {"dtype": "U9"}}))),
    "MP602": lambda: model(raw("model.safetensors", header({}, pad=25_000_000))),
    "MP603": lambda: model(
        raw("model.safetensors", header({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}, pad=0))
    ),
    "MP604": lambda: model(raw("model.safetensors", safetensors({"a": ("U8", [1], b"x")}, metadata={}))),
    "MP605": lambda: model(raw("model.safetensors", safetensors({}))),
    "MP606": lambda: model(raw("model.safetensors", (2**40).to_bytes(8, "little") + b"{}")),
    "MP607": lambda: model(raw("model.safetensors", header({"a": one(2, 3)}, b"abc"))),
    "MP608": lambda: model(raw("model.safetensors", header({"a": one(0, 1), "b": one(0, 1)}, b"a"))),
    "MP609": lambda: model(raw("model.safetensors", header({"a": one(0, 2)}, b"ab"))),
    "MP610": lambda: model(raw("model.safetensors", TENSORS + b"more")),
    "MP701": lambda: model(raw("model.gguf", b"GGML" + bytes(40))),
    "MP702": lambda: model(
        raw("m-00001-of-00002.gguf", gguf(split_no=0, split_count=2, split_tensors_count=0)),
        raw("m-00002-of-00002.gguf", gguf(split_no=1, split_count=3, split_tensors_count=0)),
    ),
    "MP703": lambda: model(raw("model.gguf", gguf(""))),
    "MP801": lambda: archive(tar({"a.md": b"a"})[:700]),
    "MP802": lambda: archive(tar({"b.md": b"b", "a.md": b"a"})),
    "MP803": lambda: archive(times()),
    "MP804": lambda: archive(owners()),
    "MP805": lambda: archive(attributes()),
    "MP806": lambda: archive(blank_owner()),
    "MP807": lambda: archive(tar({"b.md": b"b"}), "a.md"),
    "MP901": lambda: without(model(), TENSORS),
    "MP902": lambda: with_blob(model(), TENSORS, TENSORS[:-1]),
    "MP903": lambda: with_blob(model(), TENSORS, TENSORS[:-1] + b"!"),
    "MP905": two_models,
    "MP907": lambda: with_table(b"no table"),
    "MP908": lambda: model(annotations={"org.modeldist.chunk-table": sha256(b"no such table")}),
    "MP906": lambda: written("model", [WEIGHTS], config_type="application/x", artifactType=None),
}
