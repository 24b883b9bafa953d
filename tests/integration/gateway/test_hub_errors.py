"""The table of errors in docs/gateway.md, line by line: they reach the caller as huggingface_hub's own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi, close_session, constants, get_session, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import hf_raise_for_status

from tests.integration.gateway.gateway_nodes import TOKEN, Nodes, model
from tests.servers.cluster import Cluster
from tests.servers.hub import Hub, HubFile
from tests.servers.loopback_http import Fault

WEIGHTS = "model-00001-of-00002.safetensors"
POLICY = """
version = 1
[[rules]]
references = ["**/open-*"]
allow_unsigned = true
"""


def table() -> dict[str, tuple[str, int | None]]:
    """What happened -> (the error's name, its status)."""
    section = Path("docs/gateway.md").read_text().partition("## Errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)`[^|]* \| (\d+)?[^|]*\|", section, re.MULTILINE)
    return {what: (error, int(status) if status else None) for what, error, status in rows}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """One node, whose policy knows models called `open-…` alone."""
    home = tmp_path_factory.mktemp("errors")
    policy = home / "policy.toml"
    policy.write_text(POLICY)
    with Hub() as hub:
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home / "hf"),
            "MODELDIST_AGENT_GATEWAY": "127.0.0.1:0",
            "MODELDIST_AGENT_POLICY": str(policy),
        }
        with Cluster(home, agents=1, environment=environment) as cluster:
            try:
                yield Nodes(hub, cluster)
            finally:
                close_session()


class Asker:
    """A program on the node, with a cache of its own."""

    def __init__(self, nodes: Nodes, cache: Path) -> None:
        self.hub = nodes.hub
        self.cluster = nodes.cluster
        self.url = nodes.urls[0]
        self.cache = cache
        self.repo = f"org/open-{cache.name}"
        self.hub.commit(self.repo, model(self.repo))

    def download(self, file: str = "config.json", *, repo: str = "", token: str | bool = False, **more: str) -> str:
        return hf_hub_download(
            repo or self.repo, file, endpoint=self.url, cache_dir=self.cache, token=token, revision=more.get("revision")
        )

    def describe(self, token: str | bool = False) -> object:
        return HfApi(self.url, token=token).model_info(self.repo)

    def read(self, file: str) -> None:
        """As a download does that has no limit of its own."""
        hf_raise_for_status(get_session().get(f"{self.url}/{self.repo}/resolve/main/{file}"))


@pytest.fixture(autouse=True)
def clients_ask_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub sleeps between its tries, half a minute in all."""
    restless = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    for module in ("huggingface_hub.utils._http", "huggingface_hub.file_download"):
        monkeypatch.setattr(f"{module}.time", restless)


@pytest.fixture
def asker(nodes: Nodes, tmp_path: Path) -> Iterator[Asker]:
    yield Asker(nodes, tmp_path)
    nodes.hub.heal()


def no_repository(asker: Asker) -> None:
    asker.download(repo="org/open-absent")


def private(asker: Asker) -> None:
    asker.hub.restrict(asker.repo, [TOKEN], gated=False)
    asker.download(token="hf_other")


def gated(asker: Asker) -> None:
    asker.hub.restrict(asker.repo, [TOKEN])
    asker.download(token="hf_other")


def gated_for_the_nodes(asker: Asker) -> None:
    asker.hub.restrict(asker.repo, ["hf_granted"])
    asker.download(token="hf_granted")


def no_revision(asker: Asker) -> None:
    asker.download(revision="v9")


def no_file(asker: Asker) -> None:
    try:
        asker.download("absent.json")
    finally:
        assert list(asker.cache.rglob(".no_exist/*/absent.json"))


def disabled(asker: Asker) -> None:
    told = {"X-Error-Message": "Access to this resource is disabled."}
    asker.hub.fail(Fault(path=asker.repo, status=403, headers=told, times=9))
    asker.describe()


def unknown_token(asker: Asker) -> None:
    told = {"X-Error-Message": "Invalid credentials in Authorization header"}
    asker.hub.fail(Fault(path=asker.repo, status=401, headers=told, times=9))
    asker.download(token="hf_wrong")


def says_nothing_but_401(asker: Asker) -> None:
    asker.hub.fail(Fault(path=asker.repo, status=401, times=9))
    asker.download()


def data_set(asker: Asker) -> None:
    HfApi(asker.url, token=False).dataset_info("org/open-data")


def too_many_requests(asker: Asker) -> None:
    asker.hub.fail(Fault(path=asker.repo, status=429, headers={"Retry-After": "7"}, times=99))
    try:
        asker.describe()
    except HfHubHTTPError as error:
        assert error.response.headers["Retry-After"] == "7"
        raise


def hub_away(asker: Asker) -> None:
    asker.hub.fail(Fault(path=asker.repo, status=503, times=99))
    asker.describe()


def wrong_bytes(asker: Asker) -> None:
    """Once as they arrive, once before anything is sent, and then no more."""
    content = model(asker.repo)[WEIGHTS]
    asker.hub.commit(asker.repo, {"config.json": b"{}", WEIGHTS: content})
    files = asker.hub.repos[asker.repo].commits[asker.hub.repos[asker.repo].refs["main"]]
    wrong = HubFile.of(content[:-1] + bytes([content[-1] ^ 1]), lfs=True)
    files[WEIGHTS] = HubFile(wrong.content, files[WEIGHTS].size, files[WEIGHTS].oid, files[WEIGHTS].sha256)
    try:
        asker.download(WEIGHTS)
    finally:
        with pytest.raises(HfHubHTTPError, match="502"):  # going on, the client may have met the first failure again
            asker.download(WEIGHTS)
        sent = asker.hub.body_bytes(f"/{asker.repo}/resolve/")
        assert sent <= 2 * len(content)
        with pytest.raises(HfHubHTTPError, match="502"):
            asker.download(WEIGHTS)
        assert asker.hub.body_bytes(f"/{asker.repo}/resolve/") == sent
        assert not list(asker.cache.rglob("snapshots/**/*.safetensors"))


def no_room(asker: Asker) -> None:
    commit = asker.hub.commit(asker.repo, {"config.json": b"{}", WEIGHTS: b"x"})
    asker.hub.repos[asker.repo].commits[commit][WEIGHTS] = HubFile(b"x", 1 << 50, "0" * 40, "1" * 64)
    asker.read(WEIGHTS)


def no_control_plane(asker: Asker) -> None:
    """The last case: it does not come back."""
    asker.cluster.server.kill()
    asker.describe()


def refused_by_policy(asker: Asker) -> None:
    asker.repo = "org/closed"
    asker.hub.commit(asker.repo, model(asker.repo))
    asker.describe()


def offline(asker: Asker) -> None:
    with offline_mode():
        asker.download()


def no_agent(asker: Asker) -> None:
    asker.url = "http://127.0.0.1:9"
    asker.download()


@contextmanager
def offline_mode() -> Iterator[None]:
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    close_session()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        close_session()


CASES: dict[str, Callable[[Asker], object]] = {
    "no such repository": no_repository,
    "a private repository that the caller may not read": private,
    "the hub says 401 and no more": says_nothing_but_401,
    "a data set, a space": data_set,
    "a gated repository that the caller may not read": gated,
    "one that the caller may read, and the nodes may not": gated_for_the_nodes,
    "no such branch, tag or commit": no_revision,
    "no such file": no_file,
    "a repository that the hub has disabled": disabled,
    "a token that the hub does not know": unknown_token,
    "the hub asks for fewer requests": too_many_requests,
    "the hub is away, or answers 5xx": hub_away,
    "what the hub sends is not what its digest says": wrong_bytes,
    "the node's disk is full": no_room,
    "the agent's policy refuses the model": refused_by_policy,
    "offline, and not in the client's cache": offline,
    "no agent runs": no_agent,
    "the control plane is away": no_control_plane,
}


def test_the_table_has_every_case() -> None:
    assert table().keys() == CASES.keys()


def test_a_file_asked_for_while_something_is_away_says_what(asker: Asker) -> None:
    """hf_hub_download looks into its cache then, and says that it found nothing there."""
    asker.hub.fail(Fault(path=asker.repo, status=503, times=99))
    with pytest.raises(LocalEntryNotFoundError) as raised:
        asker.download()
    cause = raised.value.__cause__
    assert isinstance(cause, HfHubHTTPError)
    assert cause.response.status_code == 502


def test_a_hub_that_asks_for_fewer_requests_takes_nothing_back(asker: Asker) -> None:
    snapshot_download(asker.repo, endpoint=asker.url, cache_dir=asker.cache / "before", token=False)
    asker.hub.fail(Fault(path=asker.repo, status=429, times=99))
    snapshot_download(asker.repo, endpoint=asker.url, cache_dir=asker.cache / "after", token=False)


@pytest.mark.parametrize("what", CASES)
def test_errors_reach_the_caller_as_the_table_says(what: str, asker: Asker) -> None:
    name, status = table()[what]
    with pytest.raises(Exception) as raised:
        CASES[what](asker)
    assert name in {cls.__name__ for cls in type(raised.value).__mro__}, repr(raised.value)
    if status is not None:
        assert isinstance(raised.value, HfHubHTTPError)
        assert raised.value.response.status_code == status
        assert raised.value.server_message, "says nothing of what to do"
