"""The page in a headless Chromium, against the mock or a real server.

Every test also fails on an uncaught exception, an error in the console, a violated
Content-Security-Policy, a dialog, or a request to any other host.
"""

import pathlib
import shutil
import sys

import pytest
from playwright.sync_api import expect, sync_playwright

from mock_server import MockServer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "server"))
DESKTOP = {"viewport": {"width": 1280, "height": 860}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
WATCH = """addEventListener("securitypolicyviolation",
  (event) => console.error("policy: " + event.violatedDirective + " " + event.blockedURI));"""


def chromium_path():
    """The system's browser; None is the one that Playwright installs."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def mock():
    server = MockServer()
    yield server
    server.close()


class Watched:
    """Opens pages and remembers what went wrong in them."""

    def __init__(self, browser):
        self.browser, self.contexts, self.problems = browser, [], []
        self.allowed = []  # texts of console errors that a test provokes

    def open(self, url, **options):
        context = self.browser.new_context(**{**DESKTOP, **options})
        origin = url.split("#")[0]
        self.contexts.append(context)
        context.add_init_script(WATCH)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=origin)
        page = context.new_page()
        self.watch(page, origin)
        page.goto(url)
        return page

    def watch(self, page, url):
        page.set_default_timeout(8000)
        page.on("console", lambda message: self.console(message))
        page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        page.on("dialog", lambda dialog: (self.problems.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: None if request.url.startswith((url, "blob:"))
                else self.problems.append(f"request to {request.url}"))

    def console(self, message):
        if message.type == "error" and not any(text in message.text for text in self.allowed):
            self.problems.append(f"console: {message.text}")

    def close(self):
        for context in self.contexts:
            context.close()


@pytest.fixture
def watched(browser):
    watched = Watched(browser)
    yield watched
    watched.close()
    assert watched.problems == []


@pytest.fixture
def page(watched, mock):
    page = watched.open(mock.url)
    expect(page.locator("#model-name")).to_have_text(mock.models[0])
    return page


@pytest.fixture(scope="module")
def module_page(browser):
    """One page for tests that only call its modules' functions."""
    server, watched = MockServer(), Watched(browser)
    yield watched.open(server.url)
    watched.close()
    server.close()
    assert watched.problems == []


def send(page, text):
    page.fill("#prompt", text)
    page.press("#prompt", "Enter")


def answered(page, count=1):
    """Waits until so many answers stand there, none being written."""
    page.wait_for_function("count => document.querySelectorAll('.turn-assistant .turn-tools').length"
                           " >= count && !document.querySelector('.live')", arg=count)


def texts(page):
    return page.locator(".turn .turn-body").all_inner_texts()


def shows(page, expected):
    """Waits until exactly these turns stand there."""
    expect(page.locator(".turn .turn-body")).to_have_text(expected)
