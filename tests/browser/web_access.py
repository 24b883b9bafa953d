"""For everybody: by keyboard alone, and what axe says of every view, in light and dark, wide and narrow."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from modeldist.errors import ModeldistError
from tests.browser.conftest import Town
from tests.browser.eyes import Eyes

MIB = 1 << 20
TITLES = {
    "": "Overview",
    "pulls": "Pulls",
    "models": "Models",
    "swarms": "Swarms",
    "nodes": "Nodes",
    "audit": "Audit",
    "start": "Start a prefetch",
}


@pytest.fixture(scope="module")
def furnished(town: Town) -> Town:
    """Something is everywhere."""
    reference = town.model("furnished", 4 * MIB)
    town.registry.heal()
    town.client.wait(town.client.create_pull(reference, "all").id, 60)
    return town


def test_axe_finds_nothing(furnished: Town, eyes: Eyes) -> None:
    page = eyes.open()
    expect(page.get_by_label("Token")).to_be_visible()
    eyes.photograph("sign-in")
    eyes.check_access("sign-in")
    eyes.sign_in(furnished.cluster.token("admin"))
    for room, title in TITLES.items():
        page = eyes.open(room)
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        expect(page.locator("main table:visible, main form, main .empty:visible").first).to_be_visible()
        eyes.photograph(room or "overview")
        eyes.check_access(room or "overview")
    for room, name in (("pulls", "pull"), ("models", "model"), ("nodes", "node"), ("swarms", "swarm")):
        page = eyes.open(room)
        expect(page.get_by_role("heading", level=1)).to_have_text(TITLES[room])
        page.locator("tbody a").first.click()
        expect(page.get_by_role("heading", level=1)).not_to_have_text(TITLES[room])
        expect(page.locator("main .facts").first).to_be_visible()
        expect(page.locator("main tbody tr, main .maps li").first).to_be_attached()
        eyes.photograph(name)
        eyes.check_access(name)


def test_shards_and_bars_say_what_they_are(furnished: Town, eyes: Eyes) -> None:
    file = f"{furnished.registry.host}/acme/furnished:v1: model.safetensors"
    page = eyes.sign_in(furnished.cluster.token("admin"), "swarms")
    row = page.get_by_role("row").filter(has_text=file)
    digest = row.locator("code").inner_text()
    assert re.fullmatch("[0-9a-f]{12}", digest)
    page.get_by_label("Search shards").fill("furnished:v1: model.safe")
    expect(page.locator("tbody tr")).to_have_count(1)
    row.get_by_role("link", name=file).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("model.safetensors")
    expect(page.locator("main code").first).to_contain_text(digest)
    page.get_by_role("link", name=f"{furnished.registry.host}/acme/furnished:v1", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("furnished")
    page = eyes.open("nodes")
    page.get_by_role("link", name="node-1").click()
    expect(page.get_by_role("region", name="Shards that it fetches or offers")).to_contain_text(file)
    page = eyes.open()
    racks = page.locator(".part").filter(has=page.get_by_role("heading", name="Racks"))
    expect(racks.get_by_role("listitem").filter(has_text="r1")).to_contain_text("2 of 2")
    expect(racks.locator(".legend li")).to_have_text([" busy serving", " free to serve", " nodes away"])


def test_a_wrong_token_is_told(furnished: Town, eyes: Eyes) -> None:
    page = eyes.open()
    for wrong in ("wrong", furnished.cluster.token("admin")[:-1]):
        page.get_by_label("Token").fill(wrong)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("The control plane does not know this token.")
        page.reload()
        expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_label("Token").fill("md_…")  # as somebody copies it who was shown the half of it
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This is no token")
    page.get_by_label("Token").fill(furnished.cluster.token("agent"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("which is for nodes")
    eyes.sign_in(furnished.cluster.token("admin"))


def test_a_pull_that_is_not_there(furnished: Town, eyes: Eyes) -> None:
    page = eyes.sign_in(furnished.cluster.token("admin"), "pulls/nosuch")
    expect(page.get_by_text("There is no pull 'nosuch'.")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel the pull")).to_be_hidden()


def test_a_token_that_ends_while_somebody_looks(furnished: Town, eyes: Eyes) -> None:
    """It asks for another one, and shows the same place again."""
    state = ("--state-dir", str(furnished.cluster.home / "control"))
    made = furnished.cluster.run(0, "token", "create", "passing", "--scope", "read", *state)
    assert made.returncode == 0, made.stderr
    page = eyes.sign_in(made.stdout.strip(), "nodes")
    expect(page.get_by_role("link", name="node-1")).to_be_visible()
    revoked = furnished.cluster.run(0, "token", "revoke", "passing", *state)
    assert revoked.returncode == 0, revoked.stderr
    expect(page.get_by_label("Token")).to_be_visible()
    expect(page.get_by_role("link", name="node-1")).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0
    page.get_by_label("Token").fill(furnished.cluster.token("admin"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nodes")
    expect(page.get_by_role("link", name="node-1")).to_be_visible()


def test_only_pulls_are_led_to_as_pulls(furnished: Town, eyes: Eyes) -> None:
    refused = furnished.client.create_rollout
    with pytest.raises(ModeldistError):
        refused("a reference that is none", "all")
    page = eyes.sign_in(furnished.cluster.token("admin"), "audit")
    rows = page.locator("tbody tr")
    rollout = rows.filter(has_text="create rollout").first
    expect(rollout).to_contain_text("a reference that is none")
    expect(rollout.get_by_role("link")).to_have_count(0)
    expect(rows.filter(has_text="create pull").first.get_by_role("link")).to_have_count(1)


def press(page: Page, key: str, until: str, most: int = 60) -> None:
    """Until what has the focus matches the selector; whatever has it on the way must be seen to."""
    for _ in range(most):
        page.keyboard.press(key)
        focused = page.evaluate(
            """(until) => {
                const here = document.activeElement;
                const style = getComputedStyle(here);
                const seen = here === document.body || style.outlineStyle !== "none";
                return { there: here.matches(until), seen, what: here.outerHTML.slice(0, 120) };
            }""",
            until,
        )
        assert focused["seen"], f"no focus to be seen on {focused['what']}"
        if focused["there"]:
            return
    raise AssertionError(f"{key} never leads to {until}")


def test_all_of_it_by_keyboard(furnished: Town, eyes: Eyes) -> None:
    page = eyes.open()
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(furnished.cluster.token("admin"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_focused()

    page.reload()
    press(page, "Tab", "#skip", most=1)
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    press(page, "Shift+Tab", "nav a[href='#/nodes']")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Nodes")).to_be_focused()
    expect(page.get_by_role("link", name="Nodes", exact=True)).to_have_attribute("aria-current", "page")
    press(page, "Tab", "input[type=search]")
    page.keyboard.type("node-2")
    expect(page.locator("tbody tr")).to_have_count(1)
    press(page, "Tab", "button.sort")
    page.keyboard.press("Enter")
    expect(page.locator("th").first).to_have_attribute("aria-sort", "descending")
    press(page, "Tab", "tbody a")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("node-2")

    press(page, "Shift+Tab", "nav a[href='#/start']")
    page.keyboard.press("Enter")
    press(page, "Tab", "#reference")
    page.keyboard.type(f"{furnished.registry.host}/acme/furnished:v1")
    press(page, "Tab", "input[name=way]")
    page.keyboard.press("ArrowDown")
    press(page, "Tab", "#which")
    page.keyboard.type("node-1")
    page.keyboard.press("Enter")
    expect(page.locator("#share")).to_have_text("100 %")

    press(page, "Shift+Tab", "#theme")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    press(page, "Tab", "#leave")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Token")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0


def test_colours_follow_the_system_or_what_was_chosen(town: Town, eyes: Eyes) -> None:
    """Those of elements, and those that a canvas reads."""
    page = eyes.open()
    seen: dict[str, set[tuple[str, str]]] = {"light": set(), "dark": set()}
    for system in ("light", "dark"):
        page.emulate_media(color_scheme=system)  # type: ignore[arg-type]
        for choice, theme in (("light", "light"), ("dark", "dark"), ("auto", system)):
            page.get_by_label("Theme").select_option(choice)
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            rail = page.evaluate("getComputedStyle(document.body).getPropertyValue('--rail')")
            seen[theme].add((ground, rail))
    assert seen == {
        "light": {("rgb(245, 246, 248)", "rgb(227, 232, 238)")},
        "dark": {("rgb(15, 20, 26)", "rgb(42, 52, 63)")},
    }


def test_going_back_and_looking_again_keeps_the_place(furnished: Town, eyes: Eyes) -> None:
    page = eyes.sign_in(furnished.cluster.token("admin"), "nodes")
    page.get_by_role("link", name="node-1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("node-1")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("node-1")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nodes")
    page.goto(f"{eyes.url}#/nodes/nobody")
    expect(page.locator("#notice")).to_contain_text("No node 'nobody' ever connected.")


def test_an_address_that_is_none_is_told(furnished: Town, eyes: Eyes) -> None:
    """As of a link that was cut off in the middle of `%2F`, or that somebody mistyped."""
    page = eyes.sign_in(furnished.cluster.token("admin"), "pulls/%")
    for place in ("pulls/%", "models/%E0%A4%A", "nodes/a%2", "nowhere/at/all", "constructor", "__proto__", "start/x"):
        page = eyes.open(place)
        expect(page.get_by_role("heading", level=1)).to_have_text("No such page")
        page.get_by_role("link", name="Go to the overview.").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def test_the_address_of_the_control_plane_alone_leads_to_the_console(town: Town, eyes: Eyes) -> None:
    eyes.page.goto(town.cluster.url)
    expect(eyes.page).to_have_url(eyes.url)
    expect(eyes.page.get_by_label("Token")).to_be_visible()
