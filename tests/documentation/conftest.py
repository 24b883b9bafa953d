"""The world that the pages of a file are run in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.documentation.world import World, new_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with new_world(tmp_path_factory.mktemp("world")) as world:
        yield world
