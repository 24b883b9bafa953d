"""sglang/srt/plugins/__init__.py: found by entry point, called once per process, its errors logged; then its hooks."""

import logging
from importlib.metadata import entry_points

from sglang.srt.plugins.hook_registry import HookRegistry

_plugins_loaded = False


def load_plugins() -> None:
    global _plugins_loaded
    if _plugins_loaded:
        return
    _plugins_loaded = True
    for plugin in entry_points(group="sglang.srt.plugins"):
        try:
            plugin.load()()
        except Exception:
            logging.getLogger(__name__).exception("Failed to execute general plugin: %s", plugin.name)
    HookRegistry.apply_hooks()
