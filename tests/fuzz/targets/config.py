"""Model configs: what lenient mode makes of any document is a config that strict mode takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import msgspec

from modelpack.config import ModelConfig, encode_config, parse_config
from tests.fuzz.target import Target, json_words
from tests.refusals import check_deviations, value_of


def seeds() -> Iterator[bytes]:
    capabilities = {
        "inputTypes": ["text", "image"],
        "outputTypes": ["other"],
        "knowledgeCutoff": "2025-01-01T00:00:60.5+01:00",
        "reasoning": True,
        "toolUsage": False,
        "reward": None,
        "languages": ["en"],
        "embedding": True,
    }
    technical = {
        "architecture": "transformer",
        "format": "safetensors",
        "paramSize": "6.7b",
        "precision": "bfloat16",
        "quantization": "awq",
        "capabilities": capabilities,
    }
    descriptor = {
        "createdAt": "2025-01-01T00:00:00Z",
        "authors": ["a"],
        "name": "m",
        "docURL": "https://example.com",
        "datasetsURL": ["https://example.com/d"],
        "licenses": ["MIT"],
    }
    modelfs = {"type": "layers", "diffIds": ["sha256:" + "0" * 64]}
    yield json.dumps({"descriptor": descriptor, "config": technical, "modelfs": modelfs}).encode()
    yield json.dumps({"descriptor": {}, "config": {}, "modelfs": modelfs}).encode()
    yield (
        b'{"descriptor":{},"config":{"puantization":"q","parameterSize":22713216,"capabilities":{"tool_usage":true}},'
        b'"modelfs":{"type":"layers","diff_ids":["sha256:00"]}}'
    )
    yield b'{"\\u001b[31m":1,"descriptor":{"name":"","\\u202e":2},"config":[],"modelfs":{"diffIds":[]}}'


def check(data: bytes) -> None:
    for strict in (True, False):
        for old_version in (True, False):
            read = partial(parse_config, data, strict=strict, old_version=old_version)
            parsed = value_of(read, naming="config")
            if parsed is None:
                continue
            check_deviations(parsed.deviations)
            assert not strict or all(deviation.severity != "error" for deviation in parsed.deviations)
            check_config(parsed.config)


def check_config(config: ModelConfig) -> None:
    written = encode_config(config)
    again = parse_config(written, strict=False)
    assert again.config == config
    codes = {deviation.code for deviation in again.deviations if deviation.severity == "error"}
    # diffIds are kept as they are, as their number counts; without any, no config is as the specification wants it.
    assert codes <= ({"diff-id"} if config.modelfs.diff_ids else {"wrong-value", "missing-member"}), again.deviations
    assert encode_config(msgspec.json.decode(written, type=ModelConfig)) == written


WORDS = json_words(
    "descriptor config modelfs createdAt authors name docURL datasetsURL licenses paramSize precision "
    "quantization capabilities inputTypes knowledgeCutoff languages type diffIds embedding layers "
    "diff_ids puantization parameterSize tool_usage",
)
TARGET = Target("config", check, seeds, WORDS)
