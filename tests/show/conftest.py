"""A browser, and the pages of committed reports made anew from their records."""

import os
import shutil
from pathlib import Path

import pytest

from trajnb.machine import ROOT
from trajnb.study import pages

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZES = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


def program() -> str | None:
    """The browser of this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def _missing(reason: str):
    """Skip, or fail where a browser has to be there, as in `.ci/run`."""
    if os.environ.get("TRAJNB_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser():
    """Chromium, or the test is skipped with the reason."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed: pip install -e '.[test]'")
    found = program()
    if found is None:
        _missing(f"there is no browser: none of {', '.join(NAMES)} is on the path")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found)
        yield started
        started.close()


class Watched:
    """A page that notes what it should never do."""

    def __init__(self, browser, size="desk", dark=False):
        self.context = browser.new_context(
            viewport=SIZES[size], color_scheme="dark" if dark else "light"
        )
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)

    def _dialog(self, dialog):
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request):
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.wrong.append(f"request: {request.url}")

    def open(self, path: Path, address: str = ""):
        """The page at `path#address`, when it is ready; a fresh one, whatever was open."""
        self.page.goto("about:blank")
        self.page.goto(f"{path.resolve().as_uri()}{address and '#'}{address}")
        if path.name in ("items.html", "rollouts.html"):
            self.page.wait_for_selector("body[data-ready]")
        return self.page


@pytest.fixture
def watched(browser):
    """A function that opens a `Watched` page; at the end nothing may have gone wrong in any."""
    opened = []

    def open_one(size="desk", dark=False) -> Watched:
        opened.append(Watched(browser, size, dark))
        return opened[-1]

    yield open_one
    for one in opened:
        one.context.close()
    assert [wrong for one in opened for wrong in one.wrong] == []


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """A function: the name of a committed report -> a folder with its pages, made from its records."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / name
            shutil.copytree(ROOT / "reports" / name, made[name])
            pages.write_readers(made[name])
            pages.write_index(made[name], None)
        return made[name]

    return make
