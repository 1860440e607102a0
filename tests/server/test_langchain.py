"""LangChain's OpenAI classes against the server."""

import pydantic
import pytest
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

ID = "books-12m"


@pytest.fixture
def options(server):
    return dict(model=ID, base_url=server.url + "/v1", api_key="none", max_retries=0)


def test_invoke(options):
    answer = ChatOpenAI(max_tokens=10, temperature=0, **options).invoke("Tell me of the sea.")
    assert answer.content
    assert answer.usage_metadata["output_tokens"] == 10
    assert answer.response_metadata["finish_reason"] == "length"


@pytest.mark.parametrize("usage", [False, True])
def test_stream(options, usage):
    model = ChatOpenAI(max_tokens=10, temperature=0, stream_usage=usage, **options)
    chunks = list(model.stream("Tell me of the sea."))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == model.invoke("Tell me of the sea.").content
    assert (whole.usage_metadata is not None) == usage


def test_batch(options):
    answers = ChatOpenAI(max_tokens=5, **options).batch(["One", "Two", "Three"])
    assert len(answers) == 3


def test_completions_send_lists(options):
    result = OpenAI(max_tokens=5, **options).generate(["Once upon", "In the"])
    assert len(result.generations) == 2


def test_embeddings_send_lists(options):
    embed = OpenAIEmbeddings(check_embedding_ctx_length=False, **options)
    vectors = embed.embed_documents(["the sea", "the sky"])
    assert len(vectors) == 2 and len(vectors[0]) == len(embed.embed_query("the sea"))


def test_structured_output(options):
    class Answer(pydantic.BaseModel):
        word: str = pydantic.Field(max_length=12)
        count: int

    model = ChatOpenAI(max_tokens=300, temperature=0.5, seed=1, **options)
    answer = model.with_structured_output(Answer, method="json_schema").invoke("Count words.")
    assert isinstance(answer, Answer)


def test_bound_tools_are_called_when_they_must_be(options):
    def weather(city: str) -> str:
        """The weather in a city."""
        return city

    model = ChatOpenAI(max_tokens=300, temperature=0.5, seed=1, **options)
    bound = model.bind_tools([weather], tool_choice="weather", parallel_tool_calls=False)
    [call] = bound.invoke("The weather in Paris?").tool_calls
    assert call["name"] == "weather" and isinstance(call["args"]["city"], str) and call["id"]
    chunks = list(bound.stream("The weather in Paris?"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    [streamed] = whole.tool_calls
    assert streamed["name"] == "weather" and streamed["args"] == call["args"]
