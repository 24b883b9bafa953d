"""The rules as a page of documentation: `python -m modelpack.lint.rule_table > docs/modelpack/lint-rules.md`."""

from __future__ import annotations

from modelpack.lint.rules import RULES

_HEAD = """# Lint rules

`modeldist lint REF|DIR|LAYOUT` and `modelpack.lint` look for these. Ids are stable. An **error** breaks a MUST, or
makes the model unusable; a **warning** breaks a SHOULD, or will surprise some reader; a **note** is worth knowing.

This page is written by `python -m modelpack.lint.rule_table`.
"""
_GROUPS = {
    "MP1": "The manifest",
    "MP2": "Layers and their annotations",
    "MP3": "The model config",
    "MP4": "Names",
    "MP5": "The files together",
    "MP6": "safetensors",
    "MP7": "GGUF",
    "MP8": "Archives",
    "MP9": "Where the model is kept",
}


REQUIREMENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("manifest MUST have the mediaType of an image manifest", ("MP102",)),
    ("manifest MUST have the artifactType of a model", ("MP103",)),
    ("manifest's config MUST have the media type of a model config", ("MP104",)),
    ("what image-spec asks of a manifest and its descriptors MUST hold", ("MP101", "MP107", "MP108", "MP110")),
    ("layers SHOULD have one of twenty media types", ("MP201", "MP202", "MP105")),
    ("several weight files SHOULD be in layers of their own", ("MP204",)),
    ("weights are RECOMMENDED uncompressed", ("MP203",)),
    ("tar entries MUST carry time, owner, group and mode", ("MP806",)),
    ("tar archives SHOULD be in lexicographic order", ("MP802",)),
    ("tar archives SHOULD have constant metadata", ("MP803", "MP804")),
    ("tar archives SHOULD have no metadata of one platform", ("MP805",)),
    ("layers SHOULD use the predefined annotations", ("MP205", "MP206", "MP207", "MP208", "MP209", "MP210", "MP211")),
    ("descriptor, config and modelfs are REQUIRED", ("MP303", "MP306")),
    ("objects of the config have no other members", ("MP302", "MP305", "MP316")),
    ("members of the config have the schema's types and values, dates those of RFC 3339", ("MP301", "MP304")),
    ("paramSize is a number with one decimal at most, and a unit", ("MP310", "MP320")),
    ("precision lists the specification's names", ("MP311", "MP321")),
    ("licenses are SPDX license expressions", ("MP312", "MP313", "MP314")),
    ("docURL, sourceURL and datasetsURL are URLs", ("MP315",)),
    ("languages are codes of ISO 639", ("MP304", "MP317")),
    ("diffIds MUST list each layer's uncompressed digest, in order", ("MP307", "MP308", "MP309")),
)
"""What the specification asks for, and the rules that look for it."""


def page() -> str:
    """Markdown."""
    parts = [_HEAD, "\n## What the specification asks for\n\n| | rules |\n|---|---|\n"]
    parts += [f"| {text} | {', '.join(rules)} |\n" for text, rules in REQUIREMENTS]
    for prefix, title in _GROUPS.items():
        parts.append(f"\n## {title}\n\n| id | severity | what | remedy | asked for by |\n|---|---|---|---|---|\n")
        for rule in RULES.values():
            if rule.id.startswith(prefix):
                what = f"`{rule.name}`: {rule.summary}"
                cells = (f"**{rule.id}**", rule.severity, what, rule.remedy, rule.section)
                parts.append(f"| {' | '.join(_cell(cell) for cell in cells)} |\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
