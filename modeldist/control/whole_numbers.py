"""Counts in JSON bodies: numbers alone, where pydantic would also take true and "4"."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError


def _whole(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("whole", "Write a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
