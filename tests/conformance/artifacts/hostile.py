"""Artifacts that would harm, or that two readers would read differently: each is refused, in either mode."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterator

from modelpack.errors import (
    DigestMismatch,
    InvalidConfig,
    InvalidManifest,
    InvalidTar,
    LayoutError,
    RegistryProtocolError,
    SizeMismatch,
    UnsafeName,
)
from modelpack.tarsource import TarLimits
from tests.conformance.artifacts.cases import Case, refused
from tests.servers.artifacts import (
    TITLE,
    Document,
    Layer,
    Written,
    config_of,
    link,
    manifest_of,
    packed,
    raw,
    sha256,
    tar,
    written,
)

WEIGHTS = b"weights" * 10
MIB = 1024 * 1024


def names() -> Iterator[Case]:
    for name, path, says in (
        ("dot", ".", "only a dot"),
        ("dots-inside", "a/./b", "only a dot"),
        ("empty-part", "a//b", "empty part"),
        ("trailing-slash", "model/", "ends in a slash"),
        ("backslash", "a\\..\\b", "backslash"),
        ("control", "a\nb", "control character"),
        ("too-long", "a" * 300, "longer than 255"),
        ("up-inside", "a/../../b", "leads out"),
    ):
        yield refused(written(f"name-{name}", [raw(path, WEIGHTS)]), f"a file called {path[:20]!r}", UnsafeName, says)
    for name, paths, says in (
        ("case", ("Model.bin", "model.BIN"), "take it for the same"),
        ("composition", ("caf\u00e9.bin", "cafe\u0301.bin"), "take it for the same"),
        ("normal-form", ("a.bin", "./a.bin"), "twice"),
        ("file-and-directory", ("model", "model/a.bin"), "is the file"),
        ("directory-and-file", ("model/a.bin", "MODEL"), "directory"),
    ):
        layers = [raw(path, str(number).encode()) for number, path in enumerate(paths)]
        yield refused(written(f"names-{name}", layers), f"files called {paths}", UnsafeName, says)
    across = [packed("a", tar({"model.bin": b"1"})), packed("b", tar({"Model.bin": b"2"}))]
    yield refused(written("names-across-archives", across), "the same file in two archives", UnsafeName, "the same")
    both = [raw("model.bin", b"1"), packed("a", tar({"model.bin": b"2"}))]
    yield refused(written("name-in-archive-and-raw", both), "a raw file again in an archive", UnsafeName, "twice")


def entries() -> Iterator[Case]:
    special = tarfile.TarInfo("dev")
    special.type = tarfile.CHRTYPE
    sparse = tarfile.TarInfo("sparse")
    sparse.type = tarfile.GNUTYPE_SPARSE
    pax_sparse = tarfile.TarInfo("sparse.bin")
    pax_sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": "1000000000000"}
    huge = tarfile.TarInfo("huge.bin")
    huge.pax_headers = {"comment": "x" * (2 * MIB)}
    for name, archive, error, says in (
        ("traversal", tar({"../evil": b"x"}), UnsafeName, "leads out"),
        ("absolute", tar({"/etc/evil": b"x"}), UnsafeName, "absolute"),
        ("through-a-link", tar({"link": link("link", "sub"), "link/evil": b"x"}), UnsafeName, "is the file"),
        ("link-upwards", tar({"a/link": link("a/link", "../../evil")}), UnsafeName, "outside"),
        ("hard-link-outside", tar({"x": link("x", "/etc/passwd", tarfile.LNKTYPE)}), UnsafeName, "no file before it"),
        (
            "hard-link-to-a-link",
            tar({"l": link("l", "a"), "x": link("x", "l", tarfile.LNKTYPE)}),
            UnsafeName,
            "no file",
        ),
        ("device", tar({"dev": special}), InvalidTar, "special"),
        ("gnu-sparse", tar({"sparse": sparse}), InvalidTar, "type"),
        ("pax-sparse", tar({"sparse.bin": pax_sparse}), InvalidTar, "sparse"),
        ("huge-header", tar({"huge.bin": huge}), InvalidTar, "extension header"),
        ("cut-short", tar({"a.bin": WEIGHTS})[:700], InvalidTar, "middle"),
        ("no-end", tar({"a.bin": WEIGHTS})[:1024], InvalidTar, "end marker"),
        ("after-the-end", tar({"a.bin": WEIGHTS}) + tar({"b.bin": WEIGHTS}), InvalidTar, "after its end"),
        ("bad-checksum", tar({"a.bin": WEIGHTS}).replace(b"a.bin", b"b.bin", 1), InvalidTar, "damaged header"),
    ):
        yield refused(written(f"tar-{name}", [packed("all", archive)]), f"an archive: {name}", error, says)
    model = tar({"models/../../evil": b"x"})
    layer = Layer("application/vnd.oci.image.layer.v1.tar", model)
    kind = "application/vnd.oci.image.config.v1+json"
    yield refused(
        written("image-traversal", [layer], config=b"{}", config_type=kind, artifactType=None),
        "a container image's file that leads out of /models",
        UnsafeName,
        "leads out",
    )


def bombs() -> Iterator[Case]:
    zeros = tar({"zeros.bin": bytes(8 * MIB)})
    small = TarLimits(ratio_free_bytes=MIB)  # the ratio counts from here on, so that the bomb can be a small one
    for encoding in ("tar+gzip", "tar+zstd"):
        bomb = packed("bomb", zeros, encoding=encoding)
        name = f"bomb-{encoding.removeprefix('tar+')}"
        yield refused(
            written(name, [bomb]), "zeros, a thousand times as many", InvalidTar, "times its size", limits=small
        )
    window = b"\x28\xb5\x2f\xfd\x00" + bytes([(40 - 10) << 3]) + bytes([0x01 | 8 << 3, 0, 0]) + b"a" * 8
    yield refused(
        written(
            "zstd-window",
            [Layer("application/vnd.cncf.model.weight.v1.tar+zstd", window, {TITLE: "w"}, diff_id=sha256(b""))],
        ),
        "a zstd frame that wants a terabyte of memory",
        InvalidTar,
        "decompressed",
    )
    broken = gzip.compress(zeros, mtime=0)[:-4]
    yield refused(
        written(
            "gzip-cut",
            [Layer("application/vnd.cncf.model.weight.v1.tar+gzip", broken, {TITLE: "w"}, diff_id=sha256(zeros))],
        ),
        "gzip without its end",
        InvalidTar,
        "decompressed",
    )


def promises() -> Iterator[Case]:
    lying = packed("all", tar({"a.bin": WEIGHTS}), encoding="tar+gzip")
    layers = [lying]
    config = config_of(layers, modelfs={"type": "layers", "diffIds": [sha256(b"another")]})
    yield Case(
        written("diff-id-of-compressed", layers, config=config),
        "a compressed archive that unpacks to something else than the config says",
        {"a.bin": WEIGHTS},
        strict=DigestMismatch,
        codes=("diff-id-mismatch",),
    )
    yield Case(
        written(
            "diff-ids-too-many", [raw("a.bin", WEIGHTS)], config=config_of([raw("a.bin", WEIGHTS), raw("b", b"1")])
        ),
        "more diffIds than layers",
        {"a.bin": WEIGHTS},
        strict=InvalidConfig,
        codes=("diff-ids-count",),
    )
    yield Case(
        written("no-name", [raw("a.bin", WEIGHTS), Layer("application/vnd.cncf.model.doc.v1.raw", b"?")]),
        "a raw layer that nothing names",
        {"a.bin": WEIGHTS},
        strict=InvalidManifest,
        codes=("no-name",),
    )
    model = written("other-bytes", [raw("a.bin", WEIGHTS)])
    swapped = {**model.blobs, sha256(WEIGHTS): WEIGHTS[:-1] + b"!"}
    yield refused(
        Written(model.name, model.documents, swapped), "a layer with other bytes", DigestMismatch, sha256(WEIGHTS)
    )
    shorter = {**model.blobs, sha256(WEIGHTS): WEIGHTS[:-1]}
    yield refused(
        Written("shorter", model.documents, shorter),
        "a layer cut short",
        SizeMismatch,
        "69",
        wire=RegistryProtocolError,
    )
    twisted = raw("a.bin", WEIGHTS, digest="sha256:../../../../tmp/evil")
    yield refused(
        _without_blobs(written("digest-is-a-path", [twisted], config=b"{}")),
        "a digest that is a path",
        InvalidManifest,
        "is not a digest",
    )
    yield refused(
        _without_blobs(written("size-negative", [raw("a.bin", WEIGHTS, size=-1)])),
        "a negative size",
        InvalidManifest,
        "-1",
    )
    two = [raw("a.bin", WEIGHTS), raw("b.bin", WEIGHTS, size=7)]
    yield refused(written("two-sizes", two), "one digest with two sizes", InvalidManifest, "two sizes")


def _without_blobs(model: Written) -> Written:
    return Written(model.name, model.documents, {})


def documents() -> Iterator[Case]:
    layer = raw("a.bin", WEIGHTS)
    plain = json.dumps(config_of([layer])).encode()
    blobs = {sha256(WEIGHTS): WEIGHTS}

    def with_manifest(name: str, data: bytes) -> Written:
        return Written(name, (Document(data),), {**blobs, sha256(plain): plain})

    manifest = manifest_of([layer], plain)
    text = json.dumps(manifest)
    doubled = text.replace('"layers":', '"layers": [], "layers":', 1).encode()
    yield refused(
        with_manifest("json-duplicate-key", doubled), "layers twice", InvalidManifest, "'layers' appears twice"
    )
    yield refused(
        with_manifest("json-both-kinds", json.dumps({**manifest, "manifests": []}).encode()),
        "a manifest that is an index too",
        InvalidManifest,
        "at once",
    )
    padded = json.dumps({**manifest, "annotations": {"x": "y" * (5 * MIB)}}).encode()
    yield refused(
        with_manifest("manifest-of-5-mib", padded),
        "a manifest of 5 MiB",
        LayoutError,
        "4194304",
        wire=RegistryProtocolError,
    )
    deep = text[:-1] + ', "x": ' + "[" * 90_000 + "]" * 90_000 + "}"
    yield refused(
        with_manifest("manifest-nested", deep.encode()), "a manifest nested 90,000 deep", InvalidManifest, "deep"
    )
    yield refused(
        with_manifest("manifest-not-utf8", text.encode().replace(b"a.bin", b"\xff.bin")),
        "a manifest that is not UTF-8",
        InvalidManifest,
        "JSON",
    )
    for name, config, says in (
        ("config-duplicate-key", b'{"descriptor": {}, "descriptor": {}}', "appears twice"),
        ("config-nested", b'{"a":' * 200 + b"1" + b"}" * 200, "nested too deeply"),
        ("config-not-an-object", b"[]", "not a JSON object"),
        ("config-not-json", b"{", "not valid JSON"),
    ):
        yield refused(written(name, [layer], config=config), name, InvalidConfig, says)
    large = json.dumps({"x": "y" * (5 * MIB)}).encode()
    yield refused(written("config-of-5-mib", [layer], config=large), "a config of 5 MiB", LayoutError, "4194304")


CASES = (*names(), *entries(), *bombs(), *promises(), *documents())
