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


def page() -> str:
    """Markdown."""
    parts = [_HEAD]
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
