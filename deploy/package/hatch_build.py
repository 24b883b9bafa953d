"""Adds the manual page to the wheel: made from the commands when the wheel is built, so that it is never behind them.

For that the build has what modeldist needs at run time (`require-runtime-dependencies` in pyproject.toml).
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.utils import get_reproducible_timestamp

_PLACE = "share/man/man1/modeldist.1"


class ManualPage(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        try:
            from deploy.site.manual_page import manual_page
        finally:
            sys.path.remove(self.root)
        self._folder = tempfile.TemporaryDirectory()
        page = Path(self._folder.name) / "modeldist.1"
        day = datetime.fromtimestamp(get_reproducible_timestamp(), UTC)  # SOURCE_DATE_EPOCH
        page.write_text(manual_page(day.strftime("%Y-%m-%d")))
        build_data["shared_data"][str(page)] = _PLACE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()
