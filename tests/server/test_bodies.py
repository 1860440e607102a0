"""Bodies that are no good requests: refused in one shape, in linear time, naming the place."""

import json
import time

import pytest

from conftest import check_error

CHAT = "/v1/chat/completions"
GOOD = {"messages": [{"role": "user", "content": "Once"}], "max_tokens": 2}

BROKEN = {
    "empty": b"", "blank": b"  ", "null": b"null", "list": b"[]", "number": b"5", "text": b'"x"', "true": b"true",
    "half": b'{"messages":', "trailing": b"{} {}", "comma": b'{"a":1,}', "single quotes": b"{'a':1}",
    "comment": b"{/* */}", "NaN": b'{"temperature":NaN}', "Infinity": b'{"temperature":Infinity}',
    "hex": b'{"n":0x1}', "plus": b'{"n":+1}', "zero first": b'{"n":01}', "BOM": b"\xef\xbb\xbf{}",
    "duplicate key": b'{"n":1,"n":2,"messages":[]}', "control character": b'{"a":"\x01"}',
    "NUL": b'{"a":1}\0', "form": b"prompt=hello&n=1",
    "invalid UTF-8": b'{"model":"\xff"}', "overlong UTF-8": b'{"model":"\xc0\xaf"}',
    "surrogate in UTF-8": b'{"model":"\xed\xa0\x80"}', "lone surrogate": b'{"model":"\\ud800"}',
    "too large a number": b'{"temperature":1e400}', "2^64": b'{"n":18446744073709551616}',
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings", "/tokenize"])
def test_broken_bodies(server, name, path):
    check_error(server.post(path, BROKEN[name]), 400, "invalid_request_error")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded",
                                          "multipart/form-data; boundary=x", "application/xml"])
def test_other_content_types(server, content_type):
    reply = server.post(CHAT, GOOD, headers={"Content-Type": content_type})
    check_error(reply, (400, 415), mentions="application/json")


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8",
                                          "Application/JSON"])
def test_json_content_types(server, content_type):
    assert server.post(CHAT, GOOD, headers={"Content-Type": content_type}).status == 200


DEEP = {"lists": b"[" * 100000, "closed lists": b"[" * 50000 + b"]" * 50000, "objects": b'{"a":' * 50000,
        "inside a field": b'{"messages":' + b"[" * 50000 + b"]" * 50000 + b"}",
        "an unknown field": b'{"x":' + b"[" * 5000 + b"]" * 5000 + b',"messages":[]}'}


@pytest.mark.parametrize("name", DEEP)
def test_depth(server, name):
    begin = time.monotonic()
    check_error(server.post(CHAT, DEEP[name]), 400)
    assert time.monotonic() - begin < 3


def large(name):
    if name == "a million messages":
        return b'{"messages":[' + b",".join([b'{"role":"user","content":"a"}'] * 500000) + b"]}"
    if name == "a hundred thousand parts":
        part = b'{"type":"text","text":"a "}'
        return b'{"messages":[{"role":"user","content":[' + b",".join([part] * 100000) + b"]}]}"
    if name == "one long message":
        return json.dumps({"messages": [{"role": "user", "content": "word " * 2000000}]}).encode()
    if name == "one letter":
        return json.dumps({"messages": [{"role": "user", "content": "a" * 1000000}]}).encode()
    if name == "marks":
        return json.dumps({"messages": [{"role": "user", "content": "e" + "\u0301" * 100000}]}).encode()
    if name == "ten thousand stops":
        return json.dumps({**GOOD, "stop": ["x"] * 10000}).encode()
    return json.dumps({**GOOD, **{f"field{i}": i for i in range(100000)}}).encode()


@pytest.mark.parametrize("name", ["a million messages", "a hundred thousand parts", "one long message",
                                  "one letter", "marks", "ten thousand stops"])
def test_large_bodies_are_refused_in_linear_time(server, name):
    body = large(name)
    begin = time.monotonic()
    check_error(server.post(CHAT, body), (400, 413))
    assert time.monotonic() - begin < 0.5 + len(body) * 0.5e-6
    assert server.get("/health").status == 200


def test_many_unknown_fields_are_ignored(server):
    assert server.post(CHAT, large("unknown fields")).status == 200


def test_others_are_answered_while_a_long_text_is_worked_on(server):
    import threading
    thread = threading.Thread(target=server.post, args=(CHAT, large("one letter")))
    thread.start()
    slowest = 0
    while thread.is_alive():
        begin = time.monotonic()
        assert server.get("/health").status == 200
        slowest = max(slowest, time.monotonic() - begin)
    thread.join()
    assert slowest < 0.25


def test_unknown_fields_are_ignored(server):
    reply = server.post(CHAT, {**GOOD, "metadata": {"a": [1]}, "user": "me", "store": True, "service_tier": "x",
                               "reasoning_effort": "low", "unknown_field": {"deep": [None]}})
    assert reply.status == 200


def test_null_is_as_if_it_were_not_there(server):
    fields = ["temperature", "top_p", "n", "stop", "stream", "logprobs", "seed", "tools", "response_format",
              "logit_bias", "presence_penalty", "stream_options", "tool_choice", "max_completion_tokens"]
    assert server.post(CHAT, {**GOOD, **{name: None for name in fields}}).status == 200


def test_errors_name_the_place(server):
    cases = [
        ({"messages": []}, "messages"), ({}, "messages"), ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "robot"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]}, "tools[0]"),
        ({**GOOD, "response_format": {"type": "xml"}}, "response_format.type"),
        ({**GOOD, "response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({**GOOD, "logit_bias": {"x": 1}}, "logit_bias"), ({**GOOD, "tool_choice": "sometimes"}, "sometimes"),
    ]
    for body, place in cases:
        check_error(server.post(CHAT, body), 400, "invalid_request_error", mentions=place)


def test_no_text_of_a_request_breaks_out_of_a_message(server):
    reply = server.post(CHAT, {"messages": [{"role": "a\r\nX: \u001b[31m" + "b" * 5000, "content": "c"}]})
    message = check_error(reply, 400)["message"]
    assert "\u001b" not in message and "\r" not in message


@pytest.mark.parametrize("schema", [
    {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}, "required": ["a"]},
    {"$ref": "#"}, {"$ref": "https://example.org/schema"}, {"type": "array", "items": {}, "maxItems": 2**31},
    {"type": "string", "pattern": "^+a"}, {"type": "string", "pattern": "{2}x"}, {"type": "strange"},
    {"type": "object", "properties": "x"}, {"enum": []}, {"anyOf": []}, {"type": "string", "maxLength": 2**40},
    {"type": "string", "pattern": "(" * 60000 + ")" * 60000},
    {"anyOf": [{"type": "string", "const": str(i)} for i in range(50000)]}])
def test_hostile_schemas_answer_soon(server, schema):
    begin = time.monotonic()
    reply = server.post(CHAT, {**GOOD, "response_format": {
        "type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})
    assert time.monotonic() - begin < 5
    assert reply.status in (200, 400), reply.body
    if reply.status == 400:
        check_error(reply, 400, "invalid_request_error")


def test_unknown_paths_and_methods(server):
    check_error(server.get("/nowhere"), 404, "not_found_error")
    check_error(server.get("/../etc/passwd"), (400, 404))
    check_error(server.get("/%2e%2e/etc/passwd"), 404)
    check_error(server.post("/v1/models", {}), 405, "invalid_request_error")
    check_error(server.get("/v1/models/other"), 404, "not_found_error")
    check_error(server.get("/app.js/x"), 404)
