"""What a hub tells somebody of a repository by one HEAD."""

from __future__ import annotations

import pytest

from modeldist.errors import OriginProtocolError, OriginUnavailable
from modeldist.origins.hub_admission import HubDoor, HubSays
from modeldist.origins.router import Origins
from modeldist.origins.settings import OriginSettings
from tests.servers.hub import Hub
from tests.servers.loopback_http import Exchange, Fault

FILES = {"config.json": b"{}", "model.safetensors": b"weights"}


def door(hub: Hub) -> HubDoor:
    return Origins(OriginSettings(hf_endpoint=hub.url)).hub_door()


@pytest.mark.parametrize("cdn", [False, True])
def test_who_may_read_hears_the_commit(cdn: bool) -> None:
    with Hub(cdn=cdn) as hub:
        commit = hub.commit("org/model", FILES, ref="refs/pr/1")
        for path in FILES:
            assert door(hub).ask("org/model", "refs/pr/1", path, "") == HubSays(commit, exists=True)
        assert door(hub).ask("org/model", commit, "absent.json", "") == HubSays(commit)
        assert not hub.cdn or not hub.cdn.requests


def test_a_refusal_is_told_in_the_hubs_words() -> None:
    with Hub() as hub:
        hub.commit("org/model", FILES)
        assert door(hub).ask("org/absent", "main", "config.json", "").code == "RepoNotFound"
        assert door(hub).ask("org/model", "v9", "config.json", "").code == "RevisionNotFound"
        hub.restrict("org/model", ["hf_granted"])
        refused = door(hub).ask("org/model", "main", "config.json", "")
        assert (refused.commit, refused.status, refused.code) == ("", 401, "GatedRepo")
        assert door(hub).ask("org/model", "main", "config.json", "Bearer hf_other").status == 403
        assert door(hub).ask("org/model", "main", "config.json", "Bearer hf_granted").exists
        hub.fail(Fault(status=400))
        assert door(hub).ask("org/model", "main", "config.json", "").status == 400


def test_the_nodes_own_token_opens_nothing_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_granted")
    with Hub() as hub:
        hub.commit("org/model", FILES)
        hub.restrict("org/model", ["hf_granted"])
        assert door(hub).ask("org/model", "main", "config.json", "").code == "GatedRepo"


def test_a_hub_that_is_away() -> None:
    with Hub() as hub:
        hub.fail(Fault(status=503))
        with pytest.raises(OriginUnavailable):
            door(hub).ask("org/model", "main", "config.json", "")
        there = door(hub)
    with pytest.raises(OriginUnavailable):
        there.ask("org/model", "main", "config.json", "")


class _Renamed(Hub):
    """`old/…` is called `org/…` now; `round/…` has gone in a circle; `web/…` is a web page."""

    def answer(self, exchange: Exchange) -> None:
        if exchange.url_path.startswith("/old/"):
            exchange.redirect(exchange.url_path.replace("/old/", "/org/", 1), status=307)
        elif exchange.url_path.startswith("/round/"):
            exchange.redirect(f"{exchange.url_path}x", status=307)
        elif exchange.url_path.startswith("/web/"):
            exchange.document(b"<html>", "text/html")
        else:
            super().answer(exchange)


def test_a_renamed_repository_and_what_is_no_hub() -> None:
    with _Renamed() as hub:
        commit = hub.commit("org/model", FILES)
        assert door(hub).ask("old/model", "main", "config.json", "") == HubSays(commit, exists=True)
        for repo in ("round/model", "web/model"):
            with pytest.raises(OriginProtocolError):
                door(hub).ask(repo, "main", "config.json", "")
