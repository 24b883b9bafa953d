"""Policies of a control plane and of agents, all of them real processes: what is refused costs no byte of a layer."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelpack.trust.bundles import make_bundle
from modelpack.trust.statements import sign_statement
from tests.servers.cluster import Cluster
from tests.servers.registry import Registry
from tests.servers.signed_models import WEIGHTS, Keys, SignedModel, policy

UNTRUSTED = 21


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trust")


@pytest.fixture(scope="module")
def registry(home: Path) -> Iterator[Registry]:
    with Registry(home / "registry") as running:
        yield running


@pytest.fixture(scope="module")
def keys(home: Path) -> Keys:
    return Keys.make(home, "release")


@pytest.fixture(scope="module")
def rules(home: Path, keys: Keys) -> Path:
    return policy(home, {"references": ["127.0.0.1:*/org/*"], "keys": [str(keys.public)]})


@pytest.fixture(scope="module")
def strict_server(home: Path, rules: Path) -> Iterator[Cluster]:
    with Cluster(home / "strict-server", 1, environment={"MODELDIST_SERVER_POLICY": str(rules)}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def strict_agent(home: Path, rules: Path) -> Iterator[Cluster]:
    with Cluster(home / "strict-agent", 1, environment={"MODELDIST_AGENT_POLICY": str(rules)}) as cluster:
        yield cluster


def unsigned(_model: SignedModel, _keys: Keys) -> None:
    """Nothing refers to it but its table."""


def signed_by_a_stranger(model: SignedModel, _keys: Keys) -> None:
    stranger = Keys.make(model.home, "stranger")
    model.attach_bundle(make_bundle(sign_statement(model.digest), stranger.key))


def signature_tampered(model: SignedModel, keys: Keys) -> None:
    bundle = json.loads(make_bundle(sign_statement(model.digest), keys.key))
    signature = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    signature[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    model.attach_bundle(json.dumps(bundle).encode())


def signature_of_another(model: SignedModel, keys: Keys) -> None:
    model.attach_bundle(make_bundle(sign_statement("sha256:" + "7" * 64), keys.key))


def table_tampered(model: SignedModel, keys: Keys) -> None:
    model.attach_bundle(make_bundle(sign_statement(model.digest), keys.key))
    named = model.manifest.annotations["org.modeldist.chunk-table"]
    model.replace_blob(named, model.raw_table.replace(b'"blake3"', b'"BLAKE3"'))


BY_AGENT = ("unsigned", "moved", "table")  # as agents with a policy of their own resolve like control planes

SPOILS: dict[str, tuple[Callable[[SignedModel, Keys], None], int]] = {
    "unsigned": (unsigned, UNTRUSTED),
    "stranger": (signed_by_a_stranger, UNTRUSTED),
    "tampered": (signature_tampered, UNTRUSTED),
    "moved": (signature_of_another, UNTRUSTED),
    "table": (table_tampered, 10),
}


@pytest.mark.parametrize(
    ("whose", "spoil"),
    [*(("strict_server", spoil) for spoil in SPOILS), *(("strict_agent", spoil) for spoil in BY_AGENT)],
)
def test_what_is_refused(
    spoil: str, whose: str, home: Path, registry: Registry, keys: Keys, request: pytest.FixtureRequest
) -> None:
    cluster: Cluster = request.getfixturevalue(whose)
    how, code = SPOILS[spoil]
    model = SignedModel(home, registry, f"org/{spoil}-{whose.replace('_', '-')}", seed=len(spoil) + len(whose))
    how(model, keys)
    registry.clear_log()
    done = cluster.run(0, "pull", model.reference)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert model.weight_reads() == []


@pytest.mark.parametrize("whose", ["strict_server", "strict_agent"])
def test_a_signed_model_passes(
    whose: str, home: Path, registry: Registry, keys: Keys, request: pytest.FixtureRequest
) -> None:
    cluster: Cluster = request.getfixturevalue(whose)
    model = SignedModel(home, registry, f"org/signed-{whose.replace('_', '-')}", seed=len(whose))
    model.attach_bundle(make_bundle(sign_statement(model.digest), keys.key))
    done = cluster.run(0, "pull", model.reference)
    assert done.returncode == 0, done.stderr
    assert (Path(done.stdout.strip()) / WEIGHTS).read_bytes() == model.files[WEIGHTS]


def test_preheating_asks_the_agents_policy(home: Path, registry: Registry, strict_agent: Cluster) -> None:
    model = SignedModel(home, registry, "org/preheated", seed=9)
    registry.clear_log()
    done = strict_agent.run(0, "preheat", model.reference, "--all", "--wait")
    assert done.returncode == UNTRUSTED, done.stderr
    assert model.weight_reads() == []


@pytest.mark.slow
def test_what_was_pulled_before_there_was_a_policy_is_held_against_it(
    home: Path, registry: Registry, rules: Path
) -> None:
    """The control plane's database remembers the artifact, and the agent's store has it whole."""
    model = SignedModel(home, registry, "org/before", seed=11)
    pinned = f"{model.ref.name}@{model.digest}"

    def refused(cluster: Cluster, *arguments: str) -> None:
        done = cluster.run(0, "pull", *arguments)
        assert (done.returncode, done.stdout) == (UNTRUSTED, ""), done.stderr

    with Cluster(home / "before", 1) as cluster:
        assert cluster.run(0, "pull", model.reference).returncode == 0
        cluster.server.stop()
        cluster.server.environment["MODELDIST_SERVER_POLICY"] = str(rules)
        cluster.start_server()
        cluster.wait_joined(0)
        refused(cluster, model.reference)
        refused(cluster, pinned)
        cluster.server.stop()
        del cluster.server.environment["MODELDIST_SERVER_POLICY"]
        cluster.start_server()
        cluster.agents[0].stop()
        cluster.agents[0].environment["MODELDIST_AGENT_POLICY"] = str(rules)
        cluster.agents[0].start()
        cluster.wait_joined(0)
        refused(cluster, model.reference)
        refused(cluster, "--offline", model.reference)
