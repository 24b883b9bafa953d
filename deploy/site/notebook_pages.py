"""A notebook as a page: its text, its code, and what the cells gave when it was run last."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class NotebookPage:
    """`pictures` by their names, beside the page."""

    text: str
    pictures: dict[str, bytes] = field(default_factory=dict)


def notebook_page(path: Path) -> NotebookPage:
    notebook = json.loads(path.read_text())
    page = NotebookPage("")
    parts: list[str] = []
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            parts += _output(output, f"{path.stem}-{number}", page)
    page.text = "\n\n".join(parts) + "\n"
    return page


def _output(output: dict[str, Any], name: str, page: NotebookPage) -> Iterator[str]:
    data = output.get("data", {})
    if "image/png" in data:
        picture = f"{name}-{len(page.pictures)}.png"
        page.pictures[picture] = base64.b64decode("".join(data["image/png"]))
        yield f"![What the cell draws]({picture})"
    elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
        yield f"```text\n{text}\n```"
