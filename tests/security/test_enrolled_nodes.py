"""A cluster that requires TLS between its nodes, as processes, and somebody on the network between two of them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from modeldist.agent.local_client import LocalAgent
from modeldist.agent.progress import PullSnapshot
from modeldist.transfer import frames
from tests.security.listening import Listening, listening
from tests.security.piece_target import At
from tests.servers.cluster import Cluster, wait_until
from tests.servers.recording_proxy import RecordingProxy
from tests.unit.transfer.raw_child import RawChild

SHORT = 12.0  # seconds of a certificate; renewed at half of it


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@dataclass(frozen=True)
class Town:
    """Two nodes; what the second fetches of the first passes `between`. `content` is a model that both may read."""

    cluster: Cluster
    between: RecordingProxy
    folder: Path
    joined: tuple[str, str]

    def agent(self, index: int) -> LocalAgent:
        return LocalAgent(Path(self.cluster.environment(index)["MODELDIST_SOCKET"]))

    def pull(self, index: int, name: str) -> PullSnapshot:
        agent = self.agent(index)
        *_, last = agent.events(agent.start_pull(f"file://{self.folder / name}").pull)
        assert last.state == "done", last.error
        return last

    def add(self, name: str, content: bytes) -> None:
        (self.folder / name).mkdir()
        (self.folder / name / "model.safetensors").write_bytes(content)


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    home = Path(tempfile.mkdtemp(prefix="modeldist-town-"))
    models = home / "models"
    models.mkdir()
    port = free_port()
    with RecordingProxy(("127.0.0.1", port)) as between:
        nodes = {0: {"MODELDIST_AGENT_LISTEN": f"127.0.0.1:{port}", "MODELDIST_AGENT_ADVERTISE": between.address}}
        environment = {"MODELDIST_SERVER_CERTIFICATE_LIFETIME": str(SHORT)}
        with Cluster(
            home / "cluster",
            agents=2,
            file_roots=(models,),
            environment=environment,
            nodes=nodes,
            piece_tls="require",
        ) as cluster:
            joined = tuple((cluster.home / f"node-{index}.join").read_text().strip() for index in range(2))
            yield Town(cluster, between, models, joined)  # type: ignore[arg-type]
    shutil.rmtree(home)


def test_no_byte_of_a_model_is_on_the_wire(town: Town) -> None:
    content = os.urandom(3 << 20)
    town.add("first", content)
    town.pull(0, "first")
    last = town.pull(1, "first")
    assert (last.peers, last.origin) == (len(content), 0)
    seen = town.between.seen
    assert len(seen) > len(content), "all of it passed there"
    for start in range(0, len(content), 1 << 18):
        assert content[start : start + 16] not in seen
    assert frames.MAGIC not in seen and b"sha256:" not in seen
    snapshot = Path(last.path)
    assert (snapshot / "model.safetensors").read_bytes() == content


def test_a_child_in_the_clear_is_told_why_and_gets_nothing(town: Town) -> None:
    for index in range(2):
        child = RawChild(At(str(town.agent(index).status()["address"])))  # type: ignore[arg-type]
        refused = child.hello().next()
        assert isinstance(refused, frames.HelloRefused) and "requires TLS between nodes" in refused.reason
        child.sock.close()


def test_certificates_are_renewed_and_pulls_go_on(town: Town) -> None:
    """Again and again, by both agents; what they hold open and what they open anew works throughout."""
    pairs = [town.cluster.store(index) / "identity" / "node.pem" for index in range(2)]
    for turn in range(2):
        before = [pair.read_bytes() for pair in pairs]
        content = os.urandom(1 << 20)
        town.add(f"renewed-{turn}", content)
        town.pull(0, f"renewed-{turn}")
        assert town.pull(1, f"renewed-{turn}").peers == len(content)
        wait_until(
            "new certificates",
            lambda before=before: all(pair.read_bytes() != old for pair, old in zip(pairs, before, strict=True)),
        )


def test_what_is_kept_is_for_its_owner_alone(town: Town) -> None:
    for index in range(2):
        folder = town.cluster.store(index) / "identity"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with suppress(FileNotFoundError):  # a file that is being replaced
            for path in folder.iterdir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for path in (town.cluster.home / "control").glob("control.sqlite*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_it_listens_nowhere_else(town: Town) -> None:
    agent = town.agent(1)
    assert listening(town.cluster.agents[1].pid) == {
        Listening("tcp", str(agent.status()["address"])),
        Listening("unix", str(agent.path)),
    }


def test_secrets_of_enrolment_are_in_no_process_list_log_answer_nor_database(town: Town) -> None:
    cluster = town.cluster
    said = [cluster.server.log, *(agent.log for agent in cluster.agents)]
    said += [repr(town.agent(index).status()) for index in range(2)]
    for process in (cluster.server, *cluster.agents):
        said.append(" ".join(psutil.Process(process.pid).cmdline()))
    for path in (cluster.home / "control").glob("control.sqlite*"):
        said.append(path.read_bytes().decode("latin-1"))
    assert any("--join-token-file" in text for text in said)
    assert any("this node is enrolled" in text for text in said)
    identities = [cluster.store(index) / "identity" for index in range(2)]
    secrets = [*town.joined, *((folder / "token").read_text().strip() for folder in identities)]
    secrets = [secret.rpartition("_")[2] for secret in secrets]
    secrets += [(folder / "node.pem").read_text().splitlines()[1] for folder in identities]
    for secret in secrets:
        assert len(secret) >= 64
        for text in said:
            assert secret not in text, text[max(0, text.index(secret) - 300) : text.index(secret) + 100]


def test_who_enrolled_which_node_is_in_the_audit_log(town: Town) -> None:
    log = re.sub(r"\x1b\[\d*m", "", town.cluster.server.log)
    nodes = [str(town.agent(index).status()["node"]) for index in range(2)]
    enrolments = [line for line in log.splitlines() if "/api/v1/enrol" in line]
    assert len(enrolments) == 2
    for node in nodes:  # which began at once
        assert any(node in line and "join" in line for line in enrolments), enrolments


def test_a_node_that_is_not_enrolled_is_told_what_to_do(town: Town) -> None:
    cluster = town.cluster
    stranger = cluster.agents[0].__class__(
        "stranger",
        ["agent", "--control", cluster.url, "--token-file", str(cluster.home / "control" / "agent.token")],
        cluster.environment(7),
        cluster.home,
    )
    stranger.start()
    try:
        stranger.wait_for("a refusal", lambda: "modeldist token join" in stranger.log)
        assert not cluster.status(7).get("connected")
    finally:
        stranger.stop()


@pytest.mark.slow
def test_a_revoked_node_is_not_renewed(town: Town) -> None:
    """The last test of this town: its second node loses its certificate, and what shows none gets nothing."""
    cluster = town.cluster
    node = str(town.agent(1).status()["node"])
    gone = cluster.run(0, "token", "revoke", node, "--state-dir", str(cluster.home / "control"))
    assert gone.returncode == 0, gone.stderr
    cluster.agents[1].wait_for(
        "the end of its certificate", lambda: bool(re.search(r"seconds_left\S*=\S*?0\b", cluster.agents[1].log))
    )
    pair = (cluster.store(1) / "identity" / "node.pem").read_bytes()
    cluster.agents[1].stop()
    cluster.agents[1].start()
    cluster.agents[1].wait_for("a refusal", lambda: "does not accept this agent's token" in cluster.agents[1].log)
    assert (cluster.store(1) / "identity" / "node.pem").read_bytes() == pair
