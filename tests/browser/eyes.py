"""What a browser shows: pictures of it at two widths, light and dark, and what axe says of those."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

SCREENS = Path(__file__).parents[2] / ".cache" / "screens"
WIDTHS = {1280: 900, 400: 860}
THEMES = ("light", "dark")
EXPECTED = ("Failed to load resource",)  # a status that the page itself answers to


def chromium() -> str:
    """Debian's. AssertionError where there is none: then nothing here can be tested."""
    found = shutil.which("chromium")
    assert found, "there is no chromium: deploy/setup/browser-packages.sh installs it where root or sudo allows"
    return found


class Eyes:
    """One context of a browser, with all that its pages complained about."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.url = f"{url}/console/"
        self.context: BrowserContext = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
        self.complaints: list[str] = []
        self.page = self._page()

    def _page(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))
        page.on("console", self._console)
        return page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(EXPECTED):
            self.complaints.append(message.text)

    def open(self, place: str = "") -> Page:
        """A view of the console, `place` as behind `#/`."""
        self.page.goto(f"{self.url}#/{place}")
        return self.page

    def sign_in(self, token: str, place: str = "") -> Page:
        page = self.open(place)
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("navigation", name="Main").wait_for()
        return page

    def looks(self) -> Iterator[str]:
        """Each width in each theme; the last leaves it as it was."""
        for width, height in WIDTHS.items():
            self.page.set_viewport_size({"width": width, "height": height})
            for theme in THEMES:
                self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                yield f"{width}-{theme}"
        self.page.set_viewport_size({"width": 1280, "height": 900})
        self.page.emulate_media(color_scheme="light")

    def photograph(self, name: str) -> None:
        """Into .cache/screens, in all looks. Nothing may be wider than the screen."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        for look in self.looks():
            self.page.wait_for_timeout(250)  # what is drawn to a width is drawn again
            wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{name}, {look}: {wide} pixels wider than the screen"
            self.page.screenshot(path=SCREENS / f"{name}-{look}.png", full_page=True)

    def check_access(self, name: str) -> None:
        """AssertionError with what axe finds, in all looks."""
        for look in self.looks():
            found = Axe().run(self.page, options={"resultTypes": ["violations"]})
            assert found.violations_count == 0, f"{name}, {look}:\n{found.generate_report()}"
            assert found.response["passes"], "it looked at something"
