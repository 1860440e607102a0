"""The page on a real server with the bundled model."""

import concurrent.futures
import contextlib
import subprocess
import threading

import pytest
from playwright.sync_api import expect

from conftest import answered, send, texts
from upg_server import COMMAND, MODEL, UpgServer

REFUSED = "Failed to load resource"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "books-12m.upg"
    subprocess.run([COMMAND, "compress", MODEL, "-o", path, "--profile", "8bit"], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def real(model):
    server = UpgServer(model=model)
    yield server
    assert server.stop() == 0


def set_field(page, name, value):
    page.click("#settings-button")
    page.fill(f"#setting-{name}", str(value))
    page.get_by_label("Close the settings").click()


def test_a_conversation(watched, real):
    page = watched.open(real.url + "/")
    set_field(page, "max_tokens", 40)
    send(page, "Tell me of the sea.")
    answered(page)
    assert len(texts(page)[1]) > 20
    expect(page.locator(".turn-assistant .figures")).to_contain_text("tokens/s")
    expect(page.locator("#meter")).to_contain_text("of 1,024 tokens of context")
    send(page, "And of the land?")
    answered(page, 2)
    assert "cached" in page.locator(".turn-assistant .figures").last.inner_text()
    page.locator(".turn-assistant").last.get_by_label("Regenerate").click()
    expect(page.locator(".turn-assistant .versions")).to_have_text("2 / 2")
    answered(page, 2)


def test_stop_frees_the_slot(watched, real):
    page = watched.open(real.url + "/")
    page.evaluate("localStorage.setItem('upg.last', JSON.stringify({system: '', sampling: {ignore_eos: true}}))")
    page.reload()
    send(page, "Go on for ever.")
    page.wait_for_function("() => /\\d+ tokens ·/.test(document.querySelector('#meter').textContent)")
    page.keyboard.press("Escape")
    answered(page)
    expect(page.locator(".finish")).to_have_text("Stopped")
    assert real.wait_until_idle() < 1


def test_a_refusal_is_shown_in_the_servers_words(watched, real):
    watched.allowed = [REFUSED]
    page = watched.open(real.url + "/")
    set_field(page, "temperature", 5)
    send(page, "hello")
    expect(page.locator(".turn-error")).to_contain_text("temperature: found 5, allowed 0 to 2")
    expect(page.locator(".turn-error")).to_contain_text("HTTP 400 · invalid_request_error")


@contextlib.contextmanager
def kept_writing(server):
    """Some request is always writing: a single one could end between two looks of the page."""
    seen = threading.Event()

    def write():
        while not seen.is_set():
            assert server.complete(max_tokens=900, ignore_eos=True).status == 200

    with concurrent.futures.ThreadPoolExecutor() as pool:
        writers = [pool.submit(write) for _ in range(2)]
        try:
            yield
        finally:
            seen.set()
            for writer in writers:
                writer.result()


def test_the_model_page(watched, real):
    page = watched.open(real.url + "/#model")
    page.wait_for_selector(".chart")
    text = page.inner_text("#model-view")
    for wanted in ("books-12m", "Phi3ForCausalLM", "8bit", "11.8\u00a0M", "1,024 tokens", "int8", "lm_head"):
        assert wanted in text
    with kept_writing(real):
        expect(page.locator(".slots")).to_contain_text("writing")
    expect(page.locator(".slots")).to_contain_text("No request at this moment")


def test_a_key_is_asked_for(watched, model):
    watched.allowed = [REFUSED]
    server = UpgServer("--api-key", "secret", model=model)
    page = watched.open(server.url + "/")
    expect(page.locator("#key-dialog")).to_contain_text("no valid API key")
    page.fill("#key", "secret")
    page.press("#key", "Enter")
    expect(page.locator("#model-name")).to_have_text("books-12m")
    assert server.stop() == 0
