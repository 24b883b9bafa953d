"""kill -9 of `modeldist pull` without an agent, at every moment: the next pull fetches only what was not finished."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from tests.chaos.moments import MOMENTS, Moment, new_scene
from tests.chaos.on_disk import assert_right, assert_sound, common, finished, read_ranges, size_of, united
from tests.servers.oci_faults import FaultyRegistry
from tests.servers.shell import Shell

pytestmark = pytest.mark.slow

LIVES = 3


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_a_killed_pull_is_resumed(moment: Moment, rng: random.Random, shell: Shell, faulty: FaultyRegistry) -> None:
    scene = new_scene(faulty, rng)
    process = shell.start("pull", "--json", scene.reference)
    moment.await_(scene, [shell.store], lambda: process.poll() is not None)
    process.kill()
    process.communicate(timeout=30)
    done, asked_before = finished(shell.store, scene.digests), len(scene.reads())
    scene.heal()

    result = shell.pull_json(scene.reference)
    assert_right(Path(result["path"]), scene.files)
    fetched = read_ranges(scene.reads()[asked_before:])
    assert common(fetched, done) == []
    assert result["local"] == size_of(done)
    assert result["origin"] == scene.size - result["local"] == size_of(united(fetched))
    assert_sound(shell.store)
    leftovers = json.loads(shell.run("gc", "--dry-run", "--json").stdout)
    assert (leftovers["partials"], leftovers["blobs"], leftovers["artifacts"]) == (0, 0, [])


def test_pulls_killed_again_and_again_come_to_an_end(rng: random.Random, shell: Shell, faulty: FaultyRegistry) -> None:
    """Each life keeps what the lives before it finished."""
    scene = new_scene(faulty, rng)
    scene.hold.resume.set()
    scene.disturb()
    done, asked_before = finished(shell.store, scene.digests), 0
    for life in range(LIVES):
        wanted = scene.size * (life + 1) // (LIVES + 2)
        process = shell.start("pull", "--json", scene.reference)
        while size_of(finished(shell.store, scene.digests)) < wanted and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.communicate(timeout=30)
        assert common(read_ranges(scene.reads()[asked_before:]), done) == []
        done, asked_before = finished(shell.store, scene.digests), len(scene.reads())
    scene.heal()
    assert_right(shell.pull(scene.reference), scene.files)
    assert common(read_ranges(scene.reads()[asked_before:]), done) == []
    assert_sound(shell.store)
    print(f"sent again in {LIVES + 1} lives: {scene.sent() - scene.size} of {scene.size} bytes")
