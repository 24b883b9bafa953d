"""The CNCF ModelPack specification as a library: references, manifests, configs, dialects, layouts, building, checking.

Imports nothing of modeldist or rdma. Names below load their module on first use, so that importing `modelpack` costs
nothing. `modelpack.oci` is the registry client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.artifact import ModelArtifact, ModelFile, read_artifact
    from modelpack.build import BuildPlan, BuiltArtifact
    from modelpack.chunk_table import BlobChunks, ChunkTable, encode_table, parse_table
    from modelpack.config import ModelConfig, ModelDescriptor, parse_config
    from modelpack.errors import ModelPackError
    from modelpack.extraction import ExtractedModel
    from modelpack.inspect import ArtifactSummary, describe
    from modelpack.layout import OciLayout
    from modelpack.manifest import Descriptor, Index, Manifest, choose_manifest, parse_manifest
    from modelpack.plan.files import FetchPlan, PlannedFile
    from modelpack.plan.layouts import plan_in_layout
    from modelpack.plan.planning import plan_fetch
    from modelpack.plan.rank import Rank
    from modelpack.plan.selection import Selection
    from modelpack.pruning import Pruned
    from modelpack.reading import ReadModel, read_model
    from modelpack.reference import Reference
    from modelpack.tarlayer import extract_tar, tar_entries
    from modelpack.tensors.entries import TensorEntry
    from modelpack.tensors.gguf import parse_gguf
    from modelpack.verify import verify_layout

_HOMES = {
    "ArtifactSummary": "inspect",
    "BlobChunks": "chunk_table",
    "BuildPlan": "build",
    "BuiltArtifact": "build",
    "ChunkTable": "chunk_table",
    "Descriptor": "manifest",
    "ExtractedModel": "extraction",
    "FetchPlan": "plan.files",
    "Index": "manifest",
    "Manifest": "manifest",
    "ModelArtifact": "artifact",
    "ModelConfig": "config",
    "ModelDescriptor": "config",
    "ModelFile": "artifact",
    "ModelPackError": "errors",
    "OciLayout": "layout",
    "PlannedFile": "plan.files",
    "Pruned": "pruning",
    "Rank": "plan.rank",
    "ReadModel": "reading",
    "Reference": "reference",
    "Selection": "plan.selection",
    "TensorEntry": "tensors.entries",
    "choose_manifest": "manifest",
    "describe": "inspect",
    "encode_table": "chunk_table",
    "extract_tar": "tarlayer",
    "parse_config": "config",
    "parse_gguf": "tensors.gguf",
    "parse_manifest": "manifest",
    "parse_table": "chunk_table",
    "plan_fetch": "plan.planning",
    "plan_in_layout": "plan.layouts",
    "read_artifact": "artifact",
    "read_model": "reading",
    "tar_entries": "tarlayer",
    "verify_layout": "verify",
}

__all__ = [
    "ArtifactSummary",
    "BlobChunks",
    "BuildPlan",
    "BuiltArtifact",
    "ChunkTable",
    "Descriptor",
    "ExtractedModel",
    "FetchPlan",
    "Index",
    "Manifest",
    "ModelArtifact",
    "ModelConfig",
    "ModelDescriptor",
    "ModelFile",
    "ModelPackError",
    "OciLayout",
    "PlannedFile",
    "Pruned",
    "Rank",
    "ReadModel",
    "Reference",
    "Selection",
    "TensorEntry",
    "choose_manifest",
    "describe",
    "encode_table",
    "extract_tar",
    "parse_config",
    "parse_gguf",
    "parse_manifest",
    "parse_table",
    "plan_fetch",
    "plan_in_layout",
    "read_artifact",
    "read_model",
    "tar_entries",
    "verify_layout",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelpack' has no attribute {name!r}")
    return getattr(import_module(f"modelpack.{_HOMES[name]}"), name)
