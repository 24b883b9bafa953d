"""A thousand nodes: real sessions of the load generator's agents. Lists stay pages, the picture stays readable."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from modeldist.client import Client
from tests.browser.eyes import Eyes
from tests.servers.cluster import Cluster

NODES = 1000
ROWS = 50  # of a page
PLACES = 60  # in a picture


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("crowd")
    with Cluster(home, 0) as cluster:
        arguments = ["-m", "tests.browser.crowd", cluster.url, cluster.token("agent"), str(NODES)]
        with (
            (home / "crowd.log").open("wb") as log,
            subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=log, text=True) as running,
        ):
            try:
                assert running.stdout is not None
                assert running.stdout.readline() == "joined\n", (home / "crowd.log").read_text()
                yield cluster
            finally:
                running.terminate()


@pytest.fixture
def eyes(browser: Browser, crowded: Cluster) -> Iterator[Eyes]:
    looking = Eyes(browser, crowded.url)
    yield looking
    looking.context.close()
    assert looking.complaints == []


def test_a_thousand_nodes_are_pages_that_can_be_searched(crowded: Cluster, eyes: Eyes) -> None:
    page = eyes.sign_in(crowded.token("admin"))
    expect(page.locator(".tile").first).to_contain_text("1,000")
    expect(page.locator(".rack")).to_have_count(-(-NODES // 16))
    eyes.photograph("overview-crowd")
    eyes.check_access("overview of a thousand nodes")
    page.get_by_role("link", name="Nodes", exact=True).click()
    rows = page.locator("tbody tr")
    expect(page.locator("#count")).to_have_text("1,000 of 1,000 nodes connected")
    expect(rows).to_have_count(ROWS)
    expect(page.locator(".where")).to_have_text("1–50 of 1,000")
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".where")).to_have_text("51–100 of 1,000")
    page.get_by_label("Search nodes").fill("rack-0042")
    expect(rows).to_have_count(16)
    page.get_by_role("button", name="Node", exact=True).click()
    expect(rows.first).to_contain_text("synthetic-00687")
    eyes.photograph("nodes-crowd")
    eyes.check_access("a thousand nodes")


def test_a_swarm_of_a_thousand_is_drawn_rack_by_rack_and_stays_awake(crowded: Cluster, eyes: Eyes) -> None:
    page = eyes.sign_in(crowded.token("admin"), "swarms")
    rows = page.locator("tbody tr")
    expect(rows.first).to_contain_text("1,000")
    page.evaluate("""() => {
        window.longest = 0;
        new PerformanceObserver((list) => {
            for (const each of list.getEntries()) window.longest = Math.max(window.longest, each.duration);
        }).observe({ type: "longtask" });
    }""")
    rows.first.get_by_role("link").click()
    expect(page.get_by_text(re.compile(r"1,000 nodes in \d+ (racks|zones)"))).to_be_visible()
    places = page.locator(".ring .place")
    expect(page.locator(".ring .edges .flowing").first).to_be_attached()
    assert 1 < places.count() <= PLACES
    expect(page.locator(".maps canvas")).to_have_count(20)
    page.get_by_label("Drawn by").select_option("Racks")
    expect(places).to_have_count(-(-NODES // 16))
    expect(page.get_by_label("Drawn by").get_by_role("option", name="Nodes")).to_be_disabled()
    shown = page.locator(".facts").first.inner_text()
    page.wait_for_function("(before) => document.querySelector('.facts').innerText !== before", arg=shown)
    eyes.photograph("swarm-crowd")
    print(f"longest task of the page's thread: {page.evaluate('window.longest'):.0f} ms")


def test_a_pull_of_a_thousand_nodes_is_a_page_too(crowded: Cluster, eyes: Eyes) -> None:
    with Client(crowded.url, crowded.token("admin")) as client:
        pull = client.create_pull("registry.invalid/org/model:v1", "all")
        page = eyes.sign_in(crowded.token("admin"), f"pulls/{pull.id}")
        expect(page.locator("tbody tr")).to_have_count(ROWS)
        expect(page.get_by_text("1,000 waiting")).to_be_visible()
        page.get_by_label("Search nodes").fill("synthetic-00999")
        expect(page.locator("tbody tr")).to_have_count(1)
        client.cancel_pull(pull.id)
        expect(page.get_by_text("1,000 cancelled")).to_be_visible()
