"""Every number of a request: its ends are taken, and what lies beyond is refused by name."""

import pytest

from conftest import check_error

BIG = 2**31


def field(name, value, path="/v1/chat/completions"):
    good = {"messages": [{"role": "user", "content": "Once"}]} if "chat" in path else {"prompt": "Once"}
    return path, {**good, "max_tokens": 2, name: value}


TAKEN = [
    ("temperature", 0), ("temperature", 2), ("temperature", 1e-320), ("temperature", -0.0), ("temperature", 0.5),
    ("top_p", 1), ("top_p", 0.01), ("top_k", 0), ("top_k", -1), ("top_k", 2**31 - 1), ("min_p", 0), ("min_p", 1),
    ("presence_penalty", -2), ("presence_penalty", 2), ("frequency_penalty", -2), ("frequency_penalty", 2),
    ("repeat_penalty", 1.1), ("repetition_penalty", 1.1), ("repeat_last_n", -1), ("n", 1), ("n", 4),
    ("seed", 0), ("seed", -1), ("seed", 2**63 - 1), ("seed", -(2**63)), ("stop", []), ("stop", ""), ("stop", ["", "x"]),
    ("logit_bias", {}), ("logit_bias", {"5": -100, "6": 100}), ("max_tokens", 1), ("max_completion_tokens", 1),
    ("ignore_eos", True), ("user", 5), ("n_discard", -1), ("cache_id", "../../x"), ("slot_save_path", "/etc"),
]
REFUSED = [
    ("temperature", -1), ("temperature", 2.001), ("temperature", 1e308), ("temperature", "1"), ("temperature", True),
    ("temperature", []), ("temperature", {}), ("top_p", -0.1), ("top_p", 1.1), ("top_k", -2), ("top_k", 2.5),
    ("top_k", BIG), ("min_p", 2), ("presence_penalty", -2.1), ("frequency_penalty", 3), ("repeat_penalty", -1),
    ("repeat_last_n", -2), ("repeat_last_n", BIG), ("n", 0), ("n", -1), ("n", 1000000), ("n", 1.5), ("n", "1"),
    ("n", True), ("n", 2**53 + 1), ("n", 2**63), ("n", 2**64 - 1), ("seed", 1.5), ("seed", 2**63), ("seed", "x"),
    ("max_tokens", -2), ("max_tokens", 2.9), ("max_tokens", "5"), ("max_tokens", True), ("max_tokens", 2**63),
    ("stop", 5), ("stop", [5]), ("stop", ["x"] * 10000), ("stop", ["x" * 100000]), ("stop", {}),
    ("logit_bias", {"-1": 1}), ("logit_bias", {str(BIG): 1}), ("logit_bias", {"999999": 1}), ("logit_bias", {"1": "x"}),
    ("logit_bias", {"1": 1e308}), ("logit_bias", {"1": None}), ("logit_bias", {"1.5": 1}), ("logit_bias", {"": 1}),
    ("logit_bias", {str(i): 0 for i in range(100000)}), ("logit_bias", [[1, 2]]), ("stream", "true"), ("stream", 1),
    ("ignore_eos", 1), ("grammar", "root ::= x"), ("stream_options", True),
]
CHAT_REFUSED = [("top_logprobs", 1000000), ("top_logprobs", -1), ("top_logprobs", 5), ("logprobs", 5),
                ("logprobs", "true"), ("tools", {}), ("tools", [{}]), ("tool_choice", 5), ("tool_choice", "required"),
                ("response_format", "json"), ("parallel_tool_calls", "yes")]
TEXT_REFUSED = [("logprobs", 1000000), ("logprobs", -1), ("logprobs", True), ("logprobs", 1.5), ("echo", "yes"),
                ("best_of", 0), ("best_of", 3), ("suffix", "after"), ("prompt", []), ("prompt", ""), ("prompt", 5),
                ("prompt", {}), ("prompt", [-1]), ("prompt", [BIG]), ("prompt", [10**6]), ("prompt", [1.5]),
                ("prompt", [[]]), ("prompt", [["a"]]), ("prompt", ["a", 5]), ("prompt", ["a"] * 100000),
                ("prompt", [None]), ("prompt", [[1, "a"]])]
PATHS = ["/v1/chat/completions", "/v1/completions"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", TAKEN, ids=lambda case: f"{case[0]}={str(case[1])[:24]}")
def test_taken(server, path, case):
    reply = server.post(*field(*case, path=path))
    assert reply.status == 200, reply.body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}={str(case[1])[:24]}")
def test_refused(server, path, case):
    check_error(server.post(*field(*case, path=path)), 400, "invalid_request_error", param=case[0],
                mentions=case[0])


@pytest.mark.parametrize("case", CHAT_REFUSED, ids=lambda case: f"{case[0]}={str(case[1])[:24]}")
def test_refused_in_chats(server, case):
    check_error(server.post(*field(*case)), 400, "invalid_request_error", param=case[0])


@pytest.mark.parametrize("case", TEXT_REFUSED, ids=lambda case: f"{case[0]}={str(case[1])[:24]}")
def test_refused_in_completions(server, case):
    check_error(server.post(*field(*case, path=PATHS[1])), 400, "invalid_request_error", param=case[0])


@pytest.mark.parametrize("case", [
    ("input", []), ("input", ""), ("input", 5), ("input", [[]]), ("input", ["a", ""]), ("input", [-1]),
    ("encoding_format", "int8"), ("encoding_format", 5), ("dimensions", 0), ("dimensions", -1),
    ("dimensions", 1.5), ("dimensions", BIG), ("input", "word " * 3000)],
    ids=lambda case: f"{case[0]}={str(case[1])[:24]}")
def test_refused_in_embeddings(server, case):
    reply = server.post("/v1/embeddings", {"input": "a", case[0]: case[1]})
    check_error(reply, 400, "invalid_request_error", param=case[0])


@pytest.mark.parametrize("path, body", [
    ("/tokenize", {}), ("/tokenize", {"content": 5}), ("/detokenize", {}), ("/detokenize", {"tokens": [-1]}),
    ("/detokenize", {"tokens": [10**9]}), ("/detokenize", {"tokens": "x"}), ("/apply-template", {}),
    ("/apply-template", {"messages": "x"})])
def test_refused_by_the_text_tools(server, path, body):
    check_error(server.post(path, body), 400, "invalid_request_error")


def test_text_tools_are_inverse(server):
    for text in ("Once upon a time", "", "  two  spaces\n\ttabs", "naïve café — “quotes”", "日本語 🙂 \u0301",
                 "<|im_start|>user<|im_sep|>", "a" * 5000):
        tokens = server.post("/tokenize", {"content": text}).json["tokens"]
        assert server.post("/detokenize", {"tokens": tokens}).json["content"] == text


def test_no_number_is_too_odd_for_json(server):
    """Logprobs of what can never be are numbers still."""
    reply = server.post("/v1/completions", {"prompt": "Once", "max_tokens": 2, "logprobs": 20, "temperature": 0,
                                            "logit_bias": {"5": -100, "6": 100}})
    assert reply.status == 200
    assert all(-1e5 < value <= 0 for value in reply.json["choices"][0]["logprobs"]["token_logprobs"])
