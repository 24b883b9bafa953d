"""Lists in environment variables, for the settings of origins: `a,b,c`, as other programs write them, never JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def split(value: Any) -> Any:
    """Text becomes a tuple of its parts; anything else stays as it is."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


LISTED = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)]
LISTED_PATHS = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(split)]
