"""Engines load weights while their model arrives: the first tensor before the last file is there."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import save

from tests.integration.streaming.weights import tensors
from tests.servers import faults
from tests.servers.cluster import Cluster
from tests.servers.engine_programs import ENGINE, LOADS, RANK, SCHEDULER, SERVES, ended, settings, started
from tests.servers.faults import Hold
from tests.servers.oci_faults import FaultyRegistry


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        yield cluster


class Arriving:
    """A model of two files, the second of which the registry holds back until `resume`."""

    def __init__(self, registry: FaultyRegistry, seed: int) -> None:
        found = [tensors(seed), tensors(seed + 1)]
        first, second = (save(each, {"format": "pt"}) for each in found)
        config = b'{"model_type": "llama", "torch_dtype": "float16", "seed": %d}' % seed
        files = {"config.json": config, "model-2.safetensors": first, "model-10.safetensors": second}
        self.name = f"{registry.host}/org/model-{seed}"
        self.files = files
        self.hold = Hold()
        self.held = hashlib.sha256(second).hexdigest()
        self.lines = [
            f"{name} {hashlib.sha256(each[name].tobytes()).hexdigest()} {each[name].dtype} {each[name].shape}"
            for each in found
            for name in sorted(each)
        ]
        self.first = len(found[0])
        registry.add_model(f"org/model-{seed}", "v1", files)
        registry.inject(faults.held(self.hold, times=None), on=self.held, method="GET")


def engine(cluster: Cluster, tmp_path: Path, name: str, node: int = 0, **options: object) -> tuple[str, str]:
    """Where its config is kept, and the directory that it reads."""
    kept = str(tmp_path / "config")
    given = settings(name, revision="v1", model_loader_extra_config={"modeldist": options} if options else {})
    said = ended(started(ENGINE.format(settings=given, kept=kept), cluster.environment(node)))
    directory: str = json.loads(said)[0]["model"]
    return kept, directory


def said(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def test_vllm_loads_by_name_while_the_rest_is_held(cluster: Cluster, faulty: FaultyRegistry, tmp_path: Path) -> None:
    coming = Arriving(faulty, 10)
    kept, directory = engine(cluster, tmp_path, coming.name)
    assert {path.name for path in Path(directory).iterdir()} - {".modeldist-selection.json"} == {"config.json"}
    workers = [started(LOADS.format(kept=kept), cluster.environment(node)) for node in (0, 1)]
    for worker in workers:
        assert said(worker, coming.first) == coming.lines[: coming.first]
        assert worker.poll() is None, "the second file is held"
    coming.hold.resume.set()
    assert [ended(worker).splitlines() for worker in workers] == [coming.lines[coming.first :]] * 2
    later = started(RANK.replace('found["w"]', "next(iter(found.values()))").format(kept=kept), cluster.environment(1))
    assert json.loads(ended(later))[0] != directory  # that of its own node
    faulty.heal()
    assert engine(cluster, tmp_path, coming.name)[1] != directory  # all of it is here by now


def test_without_streaming_the_engine_starts_with_all_of_it(
    cluster: Cluster, faulty: FaultyRegistry, tmp_path: Path
) -> None:
    coming = Arriving(faulty, 20)
    coming.hold.resume.set()
    kept, directory = engine(cluster, tmp_path, coming.name, stream=False)
    assert {path.name for path in Path(directory).iterdir()} == coming.files.keys()
    loaded = ended(started(LOADS.format(kept=kept), cluster.environment(0))).splitlines()
    assert sorted(loaded) == sorted(coming.lines)


def test_a_pull_that_fails_midway_fails_the_engine(cluster: Cluster, faulty: FaultyRegistry, tmp_path: Path) -> None:
    coming = Arriving(faulty, 30)
    kept, _ = engine(cluster, tmp_path, coming.name)
    worker = started(LOADS.format(kept=kept), cluster.environment(0))
    assert said(worker, coming.first) == coming.lines[: coming.first]
    faulty.die()
    faulty.heal()
    faulty.inject(faults.forbidden(), on=coming.held)
    faulty.restart()
    out, err = worker.communicate(timeout=110)
    assert worker.returncode != 0
    assert out == ""
    assert "AccessDenied" in err and "org/model-30" in err


def test_what_more_than_tensors_is_read_of_waits_for_all(
    cluster: Cluster, faulty: FaultyRegistry, tmp_path: Path
) -> None:
    """A model that loads from further places (vLLM's secondary_weights) is given complete files."""
    coming = Arriving(faulty, 40)
    kept, _ = engine(cluster, tmp_path, coming.name)
    coming.hold.resume.set()
    more = LOADS.replace("secondary_weights = ()", "secondary_weights = ()\n    allow_patterns_overrides = ['*']")
    loaded = ended(started(more.format(kept=kept), cluster.environment(0))).splitlines()
    assert sorted(loaded) == sorted(coming.lines)


def test_sglang_loads_by_name_while_the_rest_is_held(cluster: Cluster, faulty: FaultyRegistry) -> None:
    coming = Arriving(faulty, 50)
    arguments = ["--model-path", f"modeldist://{coming.name}:v1"]
    server = started(SERVES.format(arguments=arguments, loads=SCHEDULER), cluster.environment(0))
    assert said(server, coming.first) == coming.lines[: coming.first]
    assert server.poll() is None, "the second file is held"
    coming.hold.resume.set()
    assert ended(server).splitlines() == coming.lines[coming.first :]
    off = {**cluster.environment(1), "MODELDIST_STREAM": "0"}
    whole = ended(started(SERVES.format(arguments=arguments, loads=SCHEDULER), off)).splitlines()
    assert sorted(whole) == sorted(coming.lines)
