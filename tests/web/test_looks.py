"""Themes, phones, names and contrast, and the model page."""

import pytest
from playwright.sync_api import expect

from conftest import PHONE, answered, send
from mock_server import Answer

LUMINANCE = """
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgb = (color) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const luminance = (color) => rgb(color).slice(0, 3).map((value) => value / 255)
  .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
  .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const color = getComputedStyle(node).backgroundColor;
    if (rgb(color)[3] === 255) return color;
  }
  return "white";
};
"""
# Of every element that holds visible text of its own: its contrast with what lies behind it (WCAG 2).
CONTRASTS = LUMINANCE + """
[...document.querySelectorAll("body *:not(svg *)")].filter((node) => node.checkVisibility() &&
  [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) &&
  !node.matches("option, script, :disabled") && !node.closest("[inert]")).map((node) => {
  const [a, b] = [luminance(getComputedStyle(node).color), luminance(behind(node))].sort((x, y) => y - x);
  return [(a + 0.05) / (b + 0.05), node.tagName + "." + node.className + ": " + node.textContent.slice(0, 30)];
})"""
TEXT = "# A\n\n*b* `c` [d](https://e.example)\n\n> f\n\n```py\n# g\nx = 'h' + 1 if y else z\n```\n"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["chat", "settings", "model"])
def test_text_has_contrast(watched, mock, scheme, view):
    page = watched.open(mock.url, color_scheme=scheme)
    mock.answers = [[TEXT], Answer(["x"], error={"message": "failed", "type": "server_error"})]
    if view == "model":
        page.goto(mock.url + "#model")
        page.wait_for_selector(".chart")
    else:
        send(page, "one")
        answered(page)
        send(page, "two")
        page.wait_for_selector(".turn-error")
        if view == "settings":
            page.click("#settings-button")
    found = page.evaluate(CONTRASTS)
    assert len(found) > 10
    assert [one for one in found if one[0] < 4.5] == []


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_theme_follows_the_system_until_chosen(watched, mock):
    page = watched.open(mock.url, color_scheme="dark")
    dark = background(page)
    page.click("#theme-button")
    light = background(page)
    assert dark != light
    page.reload()
    assert background(page) == light
    page.click("#theme-button")
    page.emulate_media(color_scheme="light")
    assert background(page) == dark
    page.click("#theme-button")
    assert background(page) == light
    expect(page.locator("#theme-button")).to_have_attribute("aria-label", "Theme: system")


WIDER = "document.documentElement.scrollWidth > innerWidth || document.body.scrollWidth > innerWidth"


def test_a_phone_shows_everything_in_its_width(watched, mock):
    page = watched.open(mock.url, **PHONE)
    wide = "| a | b | c |\n|-|-|-|\n| " + "w" * 80 + " | x | y |\n\n```\n" + "long " * 60 + "\n```\n\n"
    mock.answers = [[wide + "a" * 300 + "\n\n" + TEXT]]
    assert not page.evaluate(WIDER)
    send(page, "x" * 200)
    answered(page)
    assert not page.evaluate(WIDER)
    expect(page.locator("#sidebar")).not_to_be_visible()
    page.tap("#open-sidebar")
    expect(page.locator("#sidebar")).to_be_visible()
    expect(page.locator("#close-sidebar")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#sidebar")).not_to_be_visible()
    page.tap("#settings-button")
    assert not page.evaluate(WIDER)
    page.tap("[aria-label='Close the settings']")
    page.goto(mock.url + "#model")
    page.wait_for_selector(".chart")
    assert not page.evaluate(WIDER)


def test_what_can_be_tapped_is_large_enough(watched, mock):
    page = watched.open(mock.url, **PHONE)
    send(page, "hello")
    answered(page)
    small = page.evaluate("""() => [...document.querySelectorAll("button, a, input, textarea")]
      .filter((node) => node.checkVisibility() && !node.matches(".skip, .link-button") &&
        !node.closest("[inert]"))
      .map((node) => [node.getBoundingClientRect(), node.outerHTML.slice(0, 80)])
      .filter(([box]) => box.width < 24 || box.height < 24).map(([, html]) => html)""")
    assert small == []


def test_everything_has_a_name_and_the_keyboard_reaches_it(page):
    send(page, "hello")
    answered(page)
    page.click("#settings-button")
    nameless = page.evaluate("""() => [...document.querySelectorAll("button, a, input, textarea, select")]
      .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() ||
        node.labels?.length)).map((node) => node.outerHTML.slice(0, 80))""")
    assert nameless == []
    page.evaluate("document.activeElement.blur()")
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.ariaLabel ||"
                               " document.activeElement.textContent"))
    assert {"new-chat", "model-link", "help-button", "theme-button", "settings-button", "Edit", "Regenerate",
            "prompt", "setting-temperature", "Close the settings"} <= seen


def test_screen_readers_are_told(page, mock):
    mock.answers = [Answer(["a "] * 10, delay=0.05)]
    send(page, "hello")
    expect(page.locator("#status")).to_have_text("Writing")
    expect(page.locator("#thread")).to_have_attribute("aria-busy", "true")
    answered(page)
    expect(page.locator("#status")).to_have_text("Answer complete")
    expect(page.locator("#thread")).to_have_attribute("aria-busy", "false")


def test_the_model_page_says_what_the_server_says(watched, mock):
    mock.slots = [{"id": 7, "state": "generating", "prompt_tokens": 812, "cached_tokens": 790,
                   "generated_tokens": 12, "tokens_per_second": 181.2}]
    page = watched.open(mock.url + "#model")
    page.wait_for_selector(".chart")
    text = page.inner_text("#model-view")
    for wanted in ["5.38\u00a0MB, 8.77 to 1 against float32", "11.8\u00a0M", "Phi3ForCausalLM",
                   "CPU, avx512vnni, 2 threads", "phi-4", "upg 0.1.0", "1,024 tokens"]:
        assert wanted in text
    assert page.locator(".chart .tensor").count() == len(mock.props["tensors"])
    expect(page.locator(".slots")).to_contain_text("812 (790 cached)")
    mock.slots = []
    mock.props["memory"]["cache_used_bytes"] = 0
    expect(page.locator(".slots")).to_contain_text("No request at this moment")
    expect(page.locator("#model-view")).to_contain_text("0 % of the cache is in use")


def test_the_chart_is_true_to_scale(watched, mock):
    mock.props["tensors"] = [
        {"name": "model.layers.0.a.weight", "codec": "path4", "rows": 300, "cols": 100, "bits_per_weight": 4.0,
         "bytes": 15000},
        {"name": "model.layers.1.a.weight", "codec": "path2", "rows": 100, "cols": 100, "bits_per_weight": 2.0,
         "bytes": 2500}]
    page = watched.open(mock.url + "#model")
    page.wait_for_selector(".chart")
    first, second = [bar.bounding_box() for bar in page.locator(".chart .tensor").all()]
    assert first["width"] / second["width"] == pytest.approx(3, rel=0.02)
    assert first["height"] / second["height"] == pytest.approx(2, rel=0.02)
    assert first["y"] + first["height"] == pytest.approx(second["y"] + second["height"], abs=1)


def test_leaving_the_model_page_stops_its_questions(watched, mock):
    page = watched.open(mock.url + "#model")
    page.wait_for_selector(".chart")
    page.click(".wordmark")
    page.wait_for_timeout(200)
    before = len(mock.requests)
    page.wait_for_timeout(1500)
    assert len(mock.requests) == before
