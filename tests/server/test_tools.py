"""Tool calls with the openai package. The bundled model knows nothing of tools: where a call is
required its text is held to one, elsewhere it just writes on."""

import json

import openai
import pytest

ID = "books-12m"
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a city",
    "parameters": {"type": "object", "required": ["city", "days"], "additionalProperties": False, "properties": {
        "city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["celsius", "fahrenheit"]}}}}}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def ask(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield lambda **fields: client.chat.completions.create(**{
            **dict(model=ID, messages=QUESTION, tools=[WEATHER, TIME], max_tokens=400, seed=1,
                   parallel_tool_calls=False), **fields})


def check_weather(arguments):
    found = json.loads(arguments)
    assert set(found) <= {"city", "days", "unit"} and len(found["city"]) <= 12 and 1 <= found["days"] <= 9
    assert found.get("unit", "celsius") in ("celsius", "fahrenheit")


NAMED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.mark.parametrize("seed", range(4))
def test_a_named_tool_is_called_as_its_schema_says(ask, seed):
    answer = ask(tool_choice=NAMED, seed=seed)
    [call] = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert (call.type, call.function.name) == ("function", "get_weather") and call.id
    check_weather(call.function.arguments)


def test_some_tool_is_called_when_one_must_be(ask):
    names = set()
    for seed in range(6):
        [call] = ask(tool_choice="required", seed=seed).choices[0].message.tool_calls
        names.add(call.function.name)
        json.loads(call.function.arguments)
    assert names <= {"get_weather", "get_time"}


def test_the_form_of_a_streamed_call(ask):
    whole = ask(tool_choice=NAMED).choices[0].message.tool_calls[0].function.arguments
    chunks = list(ask(tool_choice=NAMED, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    deltas = [call for chunk in chunks[:-1] for call in chunk.choices[0].delta.tool_calls or []]
    first, *rest = deltas
    assert (first.index, first.type, first.function.name) == (0, "function", "get_weather") and first.id
    assert first.function.arguments is not None
    for delta in rest:
        assert delta.index == 0 and delta.id is None and delta.type is None and delta.function.name is None
    text = "".join(delta.function.arguments or "" for delta in deltas)
    assert json.loads(text) == json.loads(whole)
    assert len(rest) > 1, "arguments come in pieces"


def test_no_tool_is_called_where_none_may_be(ask):
    answer = ask(tool_choice="none", max_tokens=20)
    assert answer.choices[0].message.content and not answer.choices[0].message.tool_calls


def test_text_is_text_when_the_model_calls_nothing(ask):
    answer = ask(max_tokens=20)
    assert answer.choices[0].message.content and not answer.choices[0].message.tool_calls
    chunks = list(ask(max_tokens=20, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == answer.choices[0].message.content


def test_a_conversation_with_a_call_goes_on(ask):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    answer = ask(max_tokens=10, messages=[
        *QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}])
    assert answer.choices[0].finish_reason in ("length", "stop")


def test_broken_calls_and_tools_are_refused(ask):
    for fields in ({"tools": [{"type": "function"}]}, {"tools": [{"type": "browser"}]}, {"tools": "get_weather"},
                   {"tool_choice": {"type": "function", "function": {"name": "missing"}}},
                   {"tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": "strange"}}}],
                    "tool_choice": "required"}):
        with pytest.raises(openai.BadRequestError):
            ask(**fields)
