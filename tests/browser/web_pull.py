"""A pull watched from start to end, one started from the form, and faults that are seen and explained."""

from __future__ import annotations

import re
from functools import partial

from playwright.sync_api import Page, expect

from tests.browser.conftest import RACKS, Town
from tests.browser.eyes import Eyes
from tests.servers import faults
from tests.servers.cluster import wait_until

MIB = 1 << 20


def percent(page: Page) -> int:
    found = re.match(r"\d+", page.locator("#share").inner_text())
    return int(found[0]) if found else 0


def watched(page: Page, until: int) -> list[int]:
    """The shares that the page shows one after the other, up to `until`."""
    seen = [percent(page)]

    def further() -> bool:
        page.wait_for_timeout(50)  # the browser is heard meanwhile
        if (now := percent(page)) != seen[-1]:
            seen.append(now)
        return now >= until

    wait_until(f"{until} %", further, seconds=60)
    return seen


def test_a_pull_is_watched_from_start_to_end(town: Town, eyes: Eyes) -> None:
    reference = town.model("watched", 48 * MIB, slow=1.2e6)
    page = eyes.sign_in(town.cluster.token("admin"))
    pull = town.client.create_pull(reference, "all")
    page.get_by_role("link", name=reference).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(reference)

    seen = watched(page, 35)
    expect(page.locator(".ring .place")).to_have_count(len(RACKS))
    expect(page.locator(".ring .edges .flowing").first).to_be_attached()
    expect(page.get_by_role("region", name="Who feeds whom").get_by_role("row").nth(1)).to_be_visible()
    expect(page.locator(".maps canvas")).to_have_count(len(RACKS))
    expect(page.locator("#pace")).to_contain_text("to go")
    eyes.photograph("pull-running")

    seen += watched(page, 100)
    assert seen == sorted(seen) and len(set(seen)) > 5, seen
    expect(page.locator("#share")).to_have_text("100 %")
    expect(page.get_by_label("Progress").get_by_text("done", exact=True)).to_be_visible()
    rows = page.get_by_role("region", name=re.compile("Nodes of this pull")).locator("tbody tr")
    expect(rows).to_have_count(len(RACKS))
    for index in range(len(RACKS)):
        expect(rows.nth(index)).to_contain_text("100 %")
    expect(page.locator(".ring .place.complete")).to_have_count(len(RACKS))
    for canvas in page.locator(".maps canvas").all():
        expect(canvas).to_have_attribute("aria-label", re.compile(r"holds (\d+) of \1 pieces"))
    assert town.client.get_pull(pull.id).state == "done"
    eyes.photograph("pull-done")


def test_a_prefetch_is_started_from_the_form(town: Town, eyes: Eyes) -> None:
    reference = town.model("prefetched", 12 * MIB, slow=6e6)
    page = eyes.sign_in(town.cluster.token("admin"), "start")
    page.get_by_label("Model", exact=True).fill(reference)
    page.get_by_role("button", name="What is it?").click()
    expect(page.locator(".known")).to_contain_text("12.6 MB in 2 files")
    page.get_by_role("radio", name="Named nodes").check()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Write the names of nodes.")
    page.get_by_label("Named nodes", exact=True).last.fill("node-0, nowhere")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("No node 'nowhere' ever connected.")
    eyes.photograph("start")
    page.get_by_label("Named nodes", exact=True).last.fill("node-0, node-1")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(reference)
    watched(page, 100)
    expect(page.get_by_role("region", name=re.compile("Nodes of this pull")).locator("tbody tr")).to_have_count(2)
    (made,) = [pull for pull in town.client.pulls() if pull.reference == reference]
    assert made.priority == "prefetch" and len(made.selector.nodes) == 2


def test_a_read_token_watches_and_starts_nothing(town: Town, eyes: Eyes) -> None:
    page = eyes.sign_in(town.read_token(), "start")
    expect(page.locator("#not-allowed")).to_contain_text("“dashboard” has the scope read: it can watch")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    eyes.photograph("start-read")
    page.get_by_role("link", name="Audit").click()
    expect(page.locator("main")).to_contain_text("is shown to tokens with the scope admin")
    page.get_by_role("link", name="Pulls").click()
    page.get_by_role("region", name="Pulls, newest first").get_by_role("link").first.click()
    expect(page.locator("#share")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel the pull")).to_have_count(0)


def test_a_killed_agent_is_seen_and_explained(town: Town, eyes: Eyes) -> None:
    reference = town.model("orphaned", 32 * MIB, slow=0.6e6)
    page = eyes.sign_in(town.cluster.token("admin"), "pulls")
    pull = town.client.create_pull(reference, "all")
    page.goto(f"{eyes.url}#/pulls/{pull.id}")
    watched(page, 5)
    town.cluster.agents[3].kill()
    try:
        row = page.get_by_role("region", name=re.compile("Nodes of this pull")).locator("tbody tr").first
        expect(row).to_contain_text("node-3")
        expect(row).to_contain_text("away")
        expect(row).to_contain_text("It is not connected")
        reasons = page.locator(".reasons")
        expect(reasons).to_contain_text("node-3")
        expect(reasons.locator(".remedy").first).to_be_visible()
        eyes.photograph("node-away")
        page.get_by_role("link", name="Overview").click()
        expect(page.locator("main")).to_contain_text("node-3 was last heard")
        eyes.photograph("overview-away")
    finally:
        town.cluster.agents[3].start()
        town.cluster.wait_joined(3)
    town.registry.heal()
    page.goto(f"{eyes.url}#/pulls/{pull.id}")
    watched(page, 100)
    expect(page.get_by_label("Progress").get_by_text("done", exact=True)).to_be_visible()


def test_an_origin_that_refuses_is_explained(town: Town, eyes: Eyes) -> None:
    reference = town.model("refused", MIB)
    town.registry.inject(faults.forbidden(), on="blobs")
    page = eyes.sign_in(town.cluster.token("admin"), "pulls")
    pull = town.client.create_pull(reference, ["node-0", "node-1"])
    page.goto(f"{eyes.url}#/pulls/{pull.id}")
    expect(page.get_by_label("Progress").get_by_text("failed", exact=True)).to_be_visible(timeout=60_000)
    rows = page.get_by_role("region", name=re.compile("Nodes of this pull")).locator("tbody tr")
    expect(rows.first.locator(".told")).to_contain_text(town.registry.host)
    expect(page.get_by_role("region", name="Why?")).to_contain_text("modeldist login")
    eyes.photograph("pull-failed")
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_text("Needs attention")).to_be_visible()
    expect(page.locator("main")).to_contain_text(f"{reference} failed")


def test_a_pull_is_cancelled(town: Town, eyes: Eyes) -> None:
    reference = town.model("unwanted", 16 * MIB, slow=0.2e6)
    page = eyes.sign_in(town.cluster.token("admin"))
    pull = town.client.create_pull(reference, "all")
    page.goto(f"{eyes.url}#/pulls/{pull.id}")
    page.get_by_role("button", name="Cancel the pull").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the pull").click()
    expect(page.get_by_label("Progress").get_by_text("cancelled", exact=True)).to_be_visible()
    page.get_by_role("link", name="Audit").click()
    expect(page.locator("tbody tr").first).to_contain_text("cancel pull")
    expect(page.locator("main")).to_contain_text("the newest 50,000 of the last 90 d")


def test_names_from_outside_are_text(town: Town, eyes: Eyes) -> None:
    name = '<img src=x onerror="document.title=1">'
    cluster = town.cluster
    token = str(cluster.home / "control" / "agent.token")
    stranger = cluster.agents[0].__class__(
        "stranger",
        ["agent", "--control", cluster.url, "--token-file", token, "--name", name],
        cluster.environment(7),
        cluster.home,
    )
    stranger.start()
    try:
        page = eyes.sign_in(cluster.token("admin"), "nodes")
        expect(page.get_by_role("link", name=name)).to_be_visible()
        page.get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        expect(page.locator("main img")).to_have_count(0)
    finally:
        stranger.stop()
    wait_until("it to be gone", partial(gone, town, name))


def gone(town: Town, name: str) -> bool:
    return not any(node.connected for node in town.client.nodes() if node.name == name)
