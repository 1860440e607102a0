"""What the server refuses is shown as the server said it, and can be tried again."""

import pytest
from playwright.sync_api import expect

from conftest import answered, send, shows, texts
from mock_server import Answer

REFUSED = "Failed to load resource"  # what Chromium writes to the console for each HTTP error

ERRORS = [
    (400, "prompt of 2,000 tokens, the context holds 1,024", "invalid_request_error", {}),
    (429, "the queue is full: 64 requests wait", "rate_limit_error", {"Retry-After": "3"}),
    (500, "<b>internal</b> & odd", "server_error", {}),
]


@pytest.mark.parametrize("status, message, kind, headers", ERRORS)
def test_an_error_is_shown_and_can_be_tried_again(watched, mock, status, message, kind, headers):
    watched.allowed = [REFUSED]
    page = watched.open(mock.url)
    error = {"message": message, "type": kind, "param": None, "code": None}
    mock.answers = [Answer(status=status, error=error, headers=headers), ["Now."]]
    send(page, "hello")
    box = page.locator(".turn-error")
    expect(box).to_contain_text(message)
    expect(box).to_contain_text(f"HTTP {status} · {kind}")
    assert box.get_attribute("role") == "alert"
    if headers:
        expect(box).to_contain_text("wait 3 s")
    page.get_by_role("button", name="Try again").click()
    answered(page)
    shows(page, ["hello", "Now."])


def test_an_error_inside_the_stream_keeps_the_text(page, mock):
    error = {"message": "the device was lost", "type": "server_error"}
    mock.answers = [Answer(["Half "], error=error)]
    send(page, "hello")
    expect(page.locator(".turn-error")).to_contain_text("the device was lost")
    assert texts(page)[1] == "Half"


def test_a_connection_that_ends_early_is_no_answer(page, mock):
    mock.answers = [Answer(["Half "], cut=True)]
    send(page, "hello")
    expect(page.locator(".turn-error")).to_contain_text("ended before the answer did")


def test_a_server_that_is_gone(watched, mock):
    watched.allowed = [REFUSED]
    page = watched.open(mock.url)
    page.wait_for_function("() => document.querySelector('#model-name').textContent !== ''")
    page.route("**/v1/chat/completions", lambda route: route.abort())
    send(page, "hello")
    expect(page.locator(".turn-error")).to_contain_text("The server does not answer")


def test_a_server_that_still_loads(watched, mock):
    watched.allowed = [REFUSED]
    mock.loading = True
    page = watched.open(mock.url)
    expect(page.locator("#notice")).to_have_text("Loading model")
    mock.loading = False
    expect(page.locator("#model-name")).to_have_text("books-12m")
    expect(page.locator("#notice")).to_be_hidden()


def test_a_key_is_asked_for_used_and_forgotten(watched, mock):
    watched.allowed = [REFUSED]
    mock.key = "secret"
    page = watched.open(mock.url)
    dialog = page.locator("#key-dialog")
    expect(dialog).to_contain_text("The API key is missing or wrong.")
    page.fill("#key", "wrong")
    page.press("#key", "Enter")
    expect(page.locator("#key")).to_have_value("")
    page.fill("#key", "secret")
    page.press("#key", "Enter")
    expect(page.locator("#model-name")).to_have_text("books-12m")
    send(page, "hello")
    answered(page)
    assert page.evaluate("localStorage.getItem('upg.key')") is None, "kept only when asked to"
    page.click("#settings-button")
    page.get_by_role("button", name="Forget the key").click()
    page.reload()
    expect(dialog).to_be_visible()
    page.check("#remember")
    page.fill("#key", "secret")
    page.press("#key", "Enter")
    expect(dialog).to_be_hidden()
    assert page.evaluate("localStorage.getItem('upg.key')") == "secret"


def test_full_storage_is_said(page, mock):
    page.evaluate("""() => {
      const all = "x".repeat(1 << 16);
      try { for (let i = 0; ; ++i) localStorage.setItem("filler" + i, all); } catch {}
      try { for (let i = 0; ; ++i) localStorage.setItem("small" + i, "x"); } catch {}
    }""")
    send(page, "hello")
    expect(page.locator("#toast")).to_contain_text("storage is full")
    answered(page)
    assert texts(page)[1] == "Hello."
