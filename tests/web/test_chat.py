"""Writing, stopping, editing, regenerating, settings, keys: what a user does."""

import pytest
from playwright.sync_api import expect

from conftest import answered, send, shows, texts
from mock_server import Answer

SLOW = 0.05


def test_an_answer_streams_in_and_says_its_speed(page, mock):
    mock.answers = [Answer(["It was ", "a dark ", "night."] * 6, delay=SLOW)]
    send(page, "Tell me")
    page.wait_for_function("() => document.querySelector('#meter').textContent.includes('tokens/s')")
    expect(page.locator(".live")).to_have_count(1)
    answered(page)
    assert texts(page)[0] == "Tell me"
    assert texts(page)[1].startswith("It was a dark night.")
    expect(page.locator(".turn-assistant .figures")).to_contain_text("tokens/s")
    expect(page.locator(".turn-assistant .figures")).to_contain_text("18 tokens")
    expect(page.locator("#meter")).to_contain_text("of 1,024 tokens of context")
    [body] = mock.chats()
    assert body["messages"] == [{"role": "user", "content": "Tell me"}]
    assert body["stream"] and body["stream_options"] == {"include_usage": True}
    assert body["model"] == "books-12m"
    assert "temperature" not in body, "the model's own defaults hold until the user changes them"


def test_shift_enter_is_a_new_line_and_an_empty_message_is_none(page, mock):
    page.press("#prompt", "Enter")
    page.fill("#prompt", "  ")
    page.press("#prompt", "Enter")
    expect(page.locator("#send")).to_be_disabled()
    page.fill("#prompt", "one")
    page.press("#prompt", "Shift+Enter")
    page.keyboard.type("two")
    page.press("#prompt", "Enter")
    answered(page)
    assert [body["messages"][0]["content"] for body in mock.chats()] == ["one\ntwo"]


@pytest.mark.parametrize("how", ["Escape", "button"])
def test_stop_keeps_what_was_written_and_cancels(page, mock, how):
    mock.answers = [Answer(["word "] * 200, delay=SLOW)]
    send(page, "Go on")
    page.wait_for_function("() => document.querySelector('.turn-assistant').textContent.includes('word')")
    expect(page.locator("#send")).to_have_attribute("aria-label", "Stop")
    page.keyboard.press("Escape") if how == "Escape" else page.click("#send")
    answered(page)
    expect(page.locator(".finish")).to_have_text("Stopped")
    written = texts(page)[1]
    assert 1 <= written.count("word") < 100
    page.wait_for_timeout(300)
    assert texts(page)[1] == written
    assert mock.cancelled == 1
    expect(page.locator("#send")).to_have_attribute("aria-label", "Send")


def test_editing_a_message_answers_anew_and_keeps_the_old_branch(page, mock):
    mock.answers = [["First."], ["Second."], ["Third."]]
    send(page, "one")
    answered(page)
    send(page, "two")
    answered(page, 2)
    page.locator(".turn-user").first.hover()
    page.locator(".turn-user").first.get_by_label("Edit").click()
    page.fill(".edit-area", "uno")
    page.press(".edit-area", "Enter")
    answered(page, 1)
    expect(page.locator(".turn")).to_have_count(2)
    shows(page, ["uno", "Third."])
    assert mock.chats()[-1]["messages"] == [{"role": "user", "content": "uno"}]
    expect(page.locator(".turn-user .versions")).to_have_text("2 / 2")
    page.locator(".turn-user").get_by_label("Earlier version").click()
    shows(page, ["one", "First.", "two", "Second."])


def test_regenerating_any_answer_keeps_the_others(page, mock):
    mock.answers = [["First."], ["Second."], ["Other."]]
    send(page, "one")
    answered(page)
    send(page, "two")
    answered(page, 2)
    page.locator(".turn-assistant").first.hover()
    page.locator(".turn-assistant").first.get_by_label("Regenerate").click()
    answered(page, 1)
    expect(page.locator(".turn")).to_have_count(2)
    shows(page, ["one", "Other."])
    page.locator(".turn-assistant").get_by_label("Earlier version").click()
    shows(page, ["one", "First.", "two", "Second."])


def test_an_edited_answer_is_what_the_model_sees_next(page, mock):
    send(page, "one")
    answered(page)
    page.locator(".turn-assistant").get_by_label("Edit").click()
    page.fill(".edit-area", "Changed.")
    page.get_by_role("button", name="Save").click()
    shows(page, ["one", "Changed."])
    send(page, "two")
    answered(page, 2)
    assert [message["content"] for message in mock.chats()[-1]["messages"]] == ["one", "Changed.", "two"]


def test_escape_gives_an_edit_up(page):
    send(page, "one")
    answered(page)
    page.press("#prompt", "ArrowUp")
    expect(page.locator(".edit-area")).to_have_value("one")
    page.fill(".edit-area", "other")
    page.press(".edit-area", "Escape")
    assert texts(page)[0] == "one"


def test_settings_are_sent_kept_and_inherited(page, mock):
    page.click("#settings-button")
    expect(page.locator("#setting-temperature")).to_have_attribute("placeholder", "0.8")
    page.fill("#setting-system", "Be brief.")
    page.fill("#setting-temperature", "0.3")
    page.fill("#setting-top_k", "5")
    page.fill("#setting-max_tokens", "77")
    page.fill("#setting-seed", "42")
    page.fill("#setting-stop", "END\n---")
    send(page, "one")
    answered(page)
    page.reload()
    answered(page)
    page.keyboard.press("Control+Shift+O")
    send(page, "two")
    answered(page)
    for body in mock.chats():
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        wanted = {"temperature": 0.3, "top_k": 5, "max_tokens": 77, "seed": 42, "stop": ["END", "---"]}
        assert {name: body[name] for name in wanted} == wanted
    page.keyboard.press("Control+,")
    page.get_by_role("button", name="Reset to the model's own").click()
    send(page, "three")
    answered(page, 2)
    assert "temperature" not in mock.chats()[-1]


def test_conversations_survive_a_reload_and_can_be_renamed_and_deleted(page, mock):
    mock.answers = [["Kept."]]
    send(page, "Remember this")
    answered(page)
    page.reload()
    answered(page)
    shows(page, ["Remember this", "Kept."])
    entry = page.locator(".entry")
    entry.hover()
    entry.get_by_label("Rename").click()
    page.fill(".rename", "A new name")
    page.press(".rename", "Enter")
    expect(page.locator(".entry-title")).to_have_text("A new name")
    entry.hover()
    entry.get_by_label("Delete").click()
    expect(page.locator(".entry")).to_have_count(0)
    expect(page.locator(".turn")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".entry")).to_have_count(1)
    page.click(".entry-title")
    shows(page, ["Remember this", "Kept."])


def test_a_conversation_is_saved_as_markdown(page, mock):
    mock.answers = [["**Kept.**"]]
    send(page, "Save this")
    answered(page)
    page.locator(".entry").hover()
    with page.expect_download() as download:
        page.locator(".entry").get_by_label("as Markdown").click()
    assert download.value.suggested_filename == "Save-this.md"
    assert "## Model\n\n**Kept.**" in open(download.value.path()).read()


def test_two_conversations_are_written_at_once(page, mock):
    mock.answers = [Answer(["slow "] * 60, delay=SLOW), ["Quick."]]
    send(page, "one")
    page.wait_for_function("() => document.querySelector('.turn-assistant').textContent.includes('slow')")
    page.click("#new-chat")
    send(page, "two")
    answered(page)
    shows(page, ["two", "Quick."])
    expect(page.locator(".writing")).to_have_count(1)
    page.get_by_title("one", exact=True).click()
    expect(page.locator(".live")).to_have_count(1)
    page.click("#send")
    answered(page)
    expect(page.locator(".finish")).to_have_text("Stopped")


def test_copy_gives_the_text_as_written(page, mock):
    mock.answers = [["**bold** and\n\n```py\n\tx = 1\n```\n"]]
    send(page, "copy")
    answered(page)
    page.get_by_label("Copy code").click()
    assert page.evaluate("navigator.clipboard.readText()") == "\tx = 1"
    page.locator(".turn-assistant").get_by_label("Copy text").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("**bold** and")


def test_keyboard_help_opens_and_closes(page):
    page.keyboard.press("Control+/")
    expect(page.locator("#help")).to_be_visible()
    expect(page.locator("#help")).to_contain_text("Stop the answer")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).not_to_be_visible()


def test_the_chosen_model_is_asked(watched, mock):
    mock.models = ["books-12m", "phi-4"]
    page = watched.open(mock.url)
    page.select_option("#model-select", "phi-4")
    send(page, "hello")
    answered(page)
    assert mock.chats()[0]["model"] == "phi-4"


def test_a_model_that_is_not_loaded_yet_can_be_chosen(watched, mock):
    watched.allowed = ["Failed to load resource"]
    mock.models, mock.loaded = ["books-12m", "phi-4"], False
    page = watched.open(mock.url)
    expect(page.locator("#model-facts")).to_have_text("not loaded yet")
    page.select_option("#model-select", "phi-4")
    mock.loaded = True
    send(page, "hello")
    answered(page)
    assert mock.chats()[-1]["model"] == "phi-4"
    expect(page.locator("#model-facts")).to_contain_text("bits a weight")
    expect(page.locator("#model-select")).to_have_value("phi-4")
