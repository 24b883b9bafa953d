"""Which kind of layer a file becomes, by its name; as modctl's `modelfile generate` sorts them (main c8e484d).

Asked in this order: config, weight, code, doc; what none of them knows is a weight when large, else code.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from modelpack.mediatypes import LayerKind

LARGE = 128 * 1024 * 1024  # bytes

_SUFFIX_LISTS: dict[LayerKind, str] = {
    "weight.config": """
        json jsonl json5 jsonc yaml yml toml ini config cfg conf properties props prop xml xsd rng modelcard meta
        hparams params hyperparams wandb mlflow tensorboard jinja
    """,
    "weight": """
        safetensors bin pt pth mar pte pt2 ptl tflite h5 hdf hdf5 pb index gguf ggml ggmf ggjt q4_0 q4_1 q5_0 q5_1
        q8_0 f16 f32 ckpt checkpoint dist_ckpt tensor weights state embedding vocab ot engine trt onnx msgpack model
        pkl pickle keras joblib npy npz nc mlmodel coreml mleap surml llamafile caffemodel prototxt dlc circle nb
    """,
    "code": """
        py ipynb sh patch c h hxx cpp cc cxx c++ hpp hh h++ java js mjs cjs jsx ts tsx go rs swift rb php scala kt
        kts r m mm f f90 f95 f03 f08 jl lua pl pm cs vb dart groovy elm erl hrl ex exs hs lhs clj cljs cljc cl lisp
        lsp scm ss rkt sql zig cu cuh bash zsh fish csh tcsh ksh ps1 psm1 psd1 bat cmd vbs awk sed env mk cmake
        gradle sbt bazel bzl ninja gyp gypi so dll dylib lib a
    """,
    "doc": """
        txt md pdf log doc docx rtf odt xls xlsx ods csv ppt pptx odp epub html htm xhtml xsl tex latex bib rst adoc
        asciidoc textile wiki org texi info man jpg jpeg png gif bmp tiff ico webp heic heif svg mp4 mov avi mkv
        webm m4v flv wmv mpg mpeg
    """,
}
_SUFFIXES = {kind: frozenset(listed.split()) for kind, listed in _SUFFIX_LISTS.items()}
_PATTERNS: dict[LayerKind, tuple[str, ...]] = {
    "weight.config": ("*tokenizer.model*", "config.json.*"),
    "weight": ("*.data-*",),
    "code": ("makefile*", "dockerfile*", "cmakelists.txt", "requirements*.txt", "pipfile*", "*.env.*"),
    "doc": ("license*", "readme*", "setup*", "*requirements*"),
}


def kind_of(name: str, size: int) -> LayerKind:
    """`name` is the last part of the path, `size` in bytes."""
    lower = name.lower()
    suffix = lower.rpartition(".")[2] if "." in lower else ""
    for kind, suffixes in _SUFFIXES.items():
        if suffix in suffixes or any(fnmatchcase(lower, pattern) for pattern in _PATTERNS[kind]):
            return kind
    return "weight" if size > LARGE else "code"
