"""The openai package as its users use it."""

import subprocess
import threading
import time

import openai
import pydantic
import pytest

from upg_server import COMMAND, MODEL

ID = "books-12m"
STORY = [{"role": "user", "content": "Tell me of the sea."}]


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models(client):
    assert [model.id for model in client.models.list()] == [ID]
    model = client.models.retrieve(ID)
    assert (model.id, model.object, model.owned_by) == (ID, "model", "upg")
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("other")
    assert caught.value.code == "model_not_found"


def test_chat(client):
    answer = client.chat.completions.create(model=ID, messages=STORY, max_tokens=12, temperature=0)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", ID)
    assert abs(answer.created - time.time()) < 60
    [choice] = answer.choices
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.message.refusal is None and not choice.message.tool_calls
    assert choice.finish_reason == "length" and choice.logprobs is None
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_any_model_name_will_do_when_there_is_one(client):
    assert client.chat.completions.create(model="gpt-4", messages=STORY, max_tokens=1).model == ID


def test_chat_stream(client):
    chunks = list(client.chat.completions.create(model=ID, messages=STORY, max_tokens=12, stream=True))
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)
    first, *middle, last = [chunk.choices[0] for chunk in chunks]
    assert (first.delta.role, first.delta.content) == ("assistant", "")
    assert all(choice.delta.content is not None and choice.finish_reason is None for choice in middle)
    assert all(choice.delta.role is None for choice in middle)
    assert last.delta.content is None and last.finish_reason == "length"


def test_chat_stream_with_usage(client):
    *chunks, last = client.chat.completions.create(model=ID, messages=STORY, max_tokens=12, stream=True,
                                                   stream_options={"include_usage": True})
    assert last.choices == [] and last.usage.completion_tokens == 12
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)
    assert last.model_extra["timings"]["predicted_n"] == 12


def content(chunks, index=0):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices
                   if choice.index == index)


def test_streamed_and_whole_are_the_same_text(client):
    for options in ({"temperature": 0}, {"temperature": 1.2, "seed": 5}, {"seed": 5, "top_p": 0.5},
                    {"seed": -7, "frequency_penalty": 1, "presence_penalty": 1}):
        fields = dict(model=ID, messages=STORY, max_tokens=40, **options)
        whole = client.chat.completions.create(**fields).choices[0].message.content
        assert content(client.chat.completions.create(stream=True, **fields)) == whole
        assert client.chat.completions.create(**fields).choices[0].message.content == whole


def test_the_library_writes_the_same(client):
    fields = {"temperature": 0.9, "seed": 11, "max_tokens": 40}
    answer = client.completions.create(model=ID, prompt="It was a dark", **fields,
                                       extra_body={"top_k": 20, "min_p": 0.02}, top_p=0.9)
    written = subprocess.run(
        [COMMAND, "run", MODEL, "-p", "It was a dark", "-n", "40", "--temp", "0.9", "--seed", "11",
         "--top-k", "20", "--min-p", "0.02", "--top-p", "0.9", "--threads", "1"],
        capture_output=True, text=True, check=True).stdout
    assert written.rstrip("\n") == answer.choices[0].text.rstrip("\n")


def test_alone_and_among_others_is_the_same_greedy_text(client):
    def write(prompt, results):
        answer = client.completions.create(model=ID, prompt=prompt, max_tokens=30, temperature=0)
        results[prompt] = answer.choices[0].text

    prompts = [f"{word} the" for word in ("Once", "In", "Under", "By", "Through", "Beyond", "With", "At")]
    alone, together = {}, {}
    for prompt in prompts:
        write(prompt, alone)
    threads = [threading.Thread(target=write, args=(prompt, together)) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_several_answers(client):
    answer = client.chat.completions.create(model=ID, messages=STORY, max_tokens=10, n=3, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in answer.choices]
    assert len(set(texts)) > 1
    assert answer.usage.completion_tokens == sum(
        len(text) > 0 for text in texts) * 10 or answer.usage.completion_tokens <= 30
    chunks = list(client.chat.completions.create(model=ID, messages=STORY, max_tokens=10, n=3, seed=1,
                                                 stream=True))
    assert [content(chunks, index) for index in range(3)] == texts


def test_stop_is_not_part_of_the_answer(client):
    fields = dict(model=ID, messages=STORY, max_tokens=60, temperature=0)
    whole = client.chat.completions.create(**fields).choices[0].message.content
    stop = whole[12:18]
    cut = whole[:whole.index(stop)]
    answer = client.chat.completions.create(**fields, stop=[stop, "never said"])
    assert answer.choices[0].message.content == cut
    assert answer.choices[0].finish_reason == "stop"
    chunks = list(client.chat.completions.create(**fields, stop=stop, stream=True))
    assert content(chunks) == cut
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_logit_bias_decides(client, server):
    [token] = server.post("/tokenize", {"content": " sea"}).json["tokens"]
    answer = client.chat.completions.create(model=ID, messages=STORY, max_tokens=4, temperature=0,
                                            logit_bias={str(token): 100})
    assert answer.choices[0].message.content == " sea" * 4


def test_chat_logprobs(client):
    answer = client.chat.completions.create(model=ID, messages=STORY, max_tokens=6, temperature=0,
                                            logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == 6
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    for token in tokens:
        assert bytes(token.bytes).decode(errors="replace") == token.token
        assert len(token.top_logprobs) == 3
        assert token.logprob <= 0
        # Greedy: what was taken is the likeliest, and the others follow in order.
        assert token.top_logprobs[0].token == token.token
        values = [other.logprob for other in token.top_logprobs]
        assert values == sorted(values, reverse=True)


def test_completions(client):
    answer = client.completions.create(model=ID, prompt="Once upon a time", max_tokens=8, temperature=0)
    assert (answer.object, answer.choices[0].finish_reason) == ("text_completion", "length")
    alone = answer.choices[0].text
    both = client.completions.create(model=ID, prompt=["Once upon a time", "The sea"], max_tokens=8,
                                     temperature=0)
    assert [choice.index for choice in both.choices] == [0, 1]
    assert both.choices[0].text == alone
    echo = client.completions.create(model=ID, prompt="Once upon a time", max_tokens=8, temperature=0,
                                     echo=True)
    assert echo.choices[0].text == "Once upon a time" + alone


def test_completions_of_token_ids(client, server):
    ids = server.post("/tokenize", {"content": "Once upon a time"}).json["tokens"]
    fields = dict(model=ID, max_tokens=8, temperature=0)
    text = client.completions.create(prompt="Once upon a time", **fields).choices[0].text
    assert client.completions.create(prompt=ids, **fields).choices[0].text == text
    lists = client.completions.create(prompt=[ids, ids[:2]], **fields)
    assert lists.choices[0].text == text and len(lists.choices) == 2


def test_completions_logprobs(client):
    answer = client.completions.create(model=ID, prompt="Once upon a time", max_tokens=5, temperature=0,
                                       logprobs=2, echo=True)
    logprobs = answer.choices[0].logprobs
    count = len(logprobs.tokens)
    assert count == answer.usage.prompt_tokens + 5
    assert "".join(logprobs.tokens) == answer.choices[0].text
    assert logprobs.token_logprobs[0] is None and all(value <= 0 for value in logprobs.token_logprobs[1:])
    assert logprobs.text_offset == [len("".join(logprobs.tokens[:i])) for i in range(count)]
    assert all(1 <= len(top) <= 3 for top in logprobs.top_logprobs[1:])


def test_completions_stream(client):
    fields = dict(model=ID, prompt="Once upon a time", max_tokens=12, temperature=0)
    text = client.completions.create(**fields).choices[0].text
    chunks = list(client.completions.create(stream=True, **fields))
    assert "".join(chunk.choices[0].text for chunk in chunks) == text
    assert chunks[-1].choices[0].finish_reason == "length"


def test_completions_stream_the_echo_and_its_logprobs(client):
    fields = dict(model=ID, prompt="Once upon a time", max_tokens=5, temperature=0, logprobs=2, echo=True)
    whole = client.completions.create(**fields).choices[0]
    chunks = [chunk.choices[0] for chunk in client.completions.create(stream=True, **fields)]
    assert "".join(chunk.text for chunk in chunks) == whole.text
    parts = [chunk.logprobs for chunk in chunks if chunk.logprobs]
    assert chunks[0].text == "Once upon a time" and parts[0].token_logprobs[0] is None
    for name in ("tokens", "text_offset", "token_logprobs"):
        assert sum((getattr(part, name) for part in parts), []) == getattr(whole.logprobs, name)


def test_embeddings(client):
    # The client asks for base64 by itself.
    answer = client.embeddings.create(model=ID, input=["the sea", "the ocean", "arithmetic"])
    vectors = [item.embedding for item in answer.data]
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert all(sum(value * value for value in vector) == pytest.approx(1, abs=1e-4) for vector in vectors)

    def dot(a, b):
        return sum(x * y for x, y in zip(vectors[a], vectors[b]))

    assert dot(0, 1) > dot(0, 2)
    floats = client.embeddings.create(model=ID, input="the sea", encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(vectors[0], abs=1e-6)
    assert answer.usage.prompt_tokens > 0


def test_embeddings_shortened_and_of_ids(client, server):
    short = client.embeddings.create(model=ID, input="the sea", dimensions=16).data[0].embedding
    assert len(short) == 16 and sum(value * value for value in short) == pytest.approx(1, abs=1e-4)
    ids = server.post("/tokenize", {"content": "the sea"}).json["tokens"]
    of_ids = client.embeddings.create(model=ID, input=[ids, ids]).data
    of_text = client.embeddings.create(model=ID, input="the sea").data[0].embedding
    assert of_ids[1].embedding == pytest.approx(of_text, abs=1e-5)


def test_a_prompt_that_is_too_long(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=ID, max_tokens=4,
                                       messages=[{"role": "user", "content": "word " * 3000}])
    assert caught.value.code == "context_length_exceeded"
    assert "1024" in str(caught.value).replace(",", "")


def test_an_answer_ends_with_the_context(client, server):
    prompt = "word " * 900
    tokens = server.post("/tokenize", {"content": prompt}).json["count"]
    answer = client.completions.create(model=ID, prompt=prompt, max_tokens=500, temperature=0,
                                       extra_body={"ignore_eos": True})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.prompt_tokens == tokens
    assert answer.usage.total_tokens <= 1025, "the last token is written, and not computed on"


def test_wrong_types_name_their_field(client):
    for field, value in (("temperature", "hot"), ("max_tokens", 1.5), ("stop", 5), ("n", "two"),
                         ("stream", "yes"), ("logit_bias", [1]), ("messages", "hello")):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**{**dict(model=ID, messages=STORY), field: value})
        assert caught.value.param == field
        assert caught.value.type == "invalid_request_error"


def test_roles_and_parts(client, server):
    parts = [{"role": "developer", "content": "Be brief."},
             {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    plain = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "ab"}]
    prompts = [server.post("/apply-template", {"messages": messages}).json["prompt"]
               for messages in (parts, plain)]
    assert prompts[0] == prompts[1]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=ID, messages=[{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}])
    assert "image_url" in str(caught.value)


def test_the_second_turn_computes_only_what_is_new(client):
    first = [{"role": "user", "content": "Tell me of the sea, the sky and the land. " * 12}]
    answer = client.chat.completions.create(model=ID, messages=first, max_tokens=20, temperature=0)
    second = first + [{"role": "assistant", "content": answer.choices[0].message.content},
                      {"role": "user", "content": "And then?"}]
    again = client.chat.completions.create(model=ID, messages=second, max_tokens=4, temperature=0)
    cached = again.usage.prompt_tokens_details.cached_tokens
    assert cached >= answer.usage.prompt_tokens
    assert again.usage.prompt_tokens - cached < 40


def test_a_background_request_does_not_push_the_conversation_out(client):
    messages = [{"role": "user", "content": "A long conversation about ships and harbours. " * 12}]
    first = client.chat.completions.create(model=ID, messages=messages, max_tokens=4, temperature=0)
    client.chat.completions.create(model=ID, max_tokens=4, messages=[
        {"role": "user", "content": "Make a title of three words."}])
    again = client.chat.completions.create(model=ID, messages=messages, max_tokens=4, temperature=0)
    assert again.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1


def test_cancel_in_mid_stream_frees_the_slot(client, server):
    stream = client.chat.completions.create(model=ID, messages=STORY, max_tokens=900, stream=True,
                                            extra_body={"ignore_eos": True})
    for _, chunk in zip(range(5), stream):
        assert chunk.choices
    stream.close()
    assert server.wait_until_idle() < 0.5


# ---- JSON that follows a schema

class Person(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=20)
    age: int
    tall: bool


def test_json_object(client):
    answer = client.chat.completions.create(model=ID, messages=STORY, max_tokens=400, seed=3,
                                            response_format={"type": "json_object"})
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(pydantic.TypeAdapter(dict).validate_json(answer.choices[0].message.content), dict)
    else:
        assert answer.choices[0].message.content.lstrip().startswith("{")


def test_parse_gives_the_object(client):
    answer = client.chat.completions.parse(model=ID, messages=STORY, max_tokens=300, temperature=0.5,
                                           seed=1, response_format=Person)
    person = answer.choices[0].message.parsed
    assert isinstance(person, Person) and len(person.name) <= 20


def test_what_a_schema_cannot_say_here_is_refused_by_name(client):
    schema = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=ID, messages=STORY, response_format={
            "type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert "not" in str(caught.value) and "properties" in str(caught.value)


# ---- keys

def test_keys(start):
    server = start("--api-key", "right")
    wrong = openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        wrong.models.list()
    assert (caught.value.code, caught.value.type) == ("invalid_api_key", "authentication_error")
    right = openai.OpenAI(base_url=server.url + "/v1", api_key="right", max_retries=0)
    assert [model.id for model in right.models.list()] == [ID]
