"""Server-sent events byte by byte, and clients that leave, stop reading, or ask too much."""

import json
import socket
import time

import pytest

from raw_http import Connection

LONG = {"prompt": "Once upon a time", "max_tokens": 900, "temperature": 0, "ignore_eos": True}
FREED = 1.0  # seconds from a client's leaving to its slot's being free; `campaign.py cancel` measures it


def raw_stream(server, path, body):
    connection = Connection(server.port, timeout=60)
    connection.socket.close()
    connection.socket = server.stream(path, body)
    return connection


def events(response):
    parts = response.body.decode().split("\n\n")
    assert parts.pop() == "", "the last event ends like the others"
    return [part for part in parts if not part.startswith(":")]


@pytest.mark.parametrize("path, body", [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Once"}], "max_tokens": 6}),
    ("/v1/completions", {"prompt": "Once", "max_tokens": 6})])
def test_the_form_of_a_stream(server, path, body):
    with raw_stream(server, path, body) as connection:
        response = connection.response()
    assert response.status == 200
    assert response.get("Content-Type").startswith("text/event-stream")
    assert response.get("Cache-Control") == "no-cache"
    assert response.get("X-Accel-Buffering") == "no"
    *chunks, end = events(response)
    assert end == "data: [DONE]"
    for chunk in chunks:
        assert chunk.startswith("data: ") and "\n" not in chunk
        assert "error" not in json.loads(chunk[6:])


def test_the_connection_serves_on_after_a_stream(server):
    with raw_stream(server, "/v1/completions", {"prompt": "Once", "max_tokens": 3}) as connection:
        assert connection.response().status == 200
        connection.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.response().status == 200


def test_every_event_is_whole_unicode(server):
    """Bytes of one character over several tokens, with an end in the middle of one."""
    tokens = server.post("/tokenize", {"content": "🙂日é"}).json["tokens"]
    assert len(tokens) > 3
    for count in range(1, len(tokens) + 2):
        bias = {}
        for at, token in enumerate(tokens):
            bias[str(token)] = 100 - at
        reply = server.post("/v1/completions", {"prompt": "x", "max_tokens": count, "temperature": 2, "top_k": 0,
                                                "top_p": 1, "min_p": 0, "seed": count, "logit_bias": bias})
        reply.body.decode("utf-8", "strict")
        whole = reply.json["choices"][0]["text"]
        with raw_stream(server, "/v1/completions", {
                "prompt": "x", "max_tokens": count, "temperature": 2, "top_k": 0, "top_p": 1, "min_p": 0,
                "seed": count, "logit_bias": bias}) as connection:
            response = connection.response()
        texts = [json.loads(event[6:])["choices"][0]["text"] for event in events(response)[:-1]]
        assert "".join(texts) == whole
        for text in texts:
            text.encode("utf-8", "strict")


def test_a_stop_text_over_several_tokens_is_held_back(server):
    fields = {"prompt": "Once upon a time", "max_tokens": 40, "temperature": 0}
    whole = server.complete(**fields).json["choices"][0]["text"]
    stop = whole[20:40]
    with raw_stream(server, "/v1/completions", {**fields, "stop": [stop, stop + "x"]}) as connection:
        texts = [json.loads(event[6:])["choices"][0]["text"] for event in events(connection.response())[:-1]]
    assert "".join(texts) == whole[:20]
    # What only begins like a stop text is said in the end.
    with raw_stream(server, "/v1/completions", {**fields, "stop": [whole[-3:] + "§"]}) as connection:
        texts = [json.loads(event[6:])["choices"][0]["text"] for event in events(connection.response())[:-1]]
    assert "".join(texts) == whole


def freed(server, before):
    begin = time.monotonic()
    while len(server.slots()) > before:
        assert time.monotonic() - begin < 5
        time.sleep(0.002)
    return time.monotonic() - begin


def wait_for_slots(server, working, queued=0):
    deadline = time.monotonic() + 5
    while True:
        states = [slot["state"] for slot in server.slots()]
        if (len(states), states.count("queued")) == (working + queued, queued):
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.002)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_frees_its_slot(server, stream, how):
    for _ in range(3):
        connection = server.stream("/v1/completions", {**LONG, "stream": stream})
        wait_for_slots(server, 1)
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        assert freed(server, 0) < FREED


def test_a_client_that_leaves_during_its_prompt(server):
    for _ in range(3):
        connection = server.stream("/v1/completions", {**LONG, "prompt": f"{time.time()} " + "word " * 900})
        time.sleep(0.02)
        connection.close()
        assert freed(server, 0) < FREED


def test_a_client_that_leaves_the_queue(start):
    server = start("--parallel", 1, "--queue", 8)
    busy = server.stream("/v1/completions", LONG)
    wait_for_slots(server, 1)
    waiting = server.stream("/v1/completions", LONG)
    wait_for_slots(server, 1, queued=1)
    waiting.close()
    assert freed(server, 1) < FREED
    busy.close()
    assert freed(server, 0) < FREED


def test_many_who_leave_at_odd_moments(server):
    """Whatever the moment, nothing of a request stays behind."""
    before = server.descriptors(), server.threads()
    counts = server.metric("upg:requests_total"), ended(server)
    connections = []
    for i in range(60):
        connection = server.stream("/v1/completions", {**LONG, "prompt": f"{i} " + "word " * (i * 7),
                                                       "stream": i % 3 > 0, "n": 1 + i % 2})
        connections.append(connection)
        time.sleep(i % 7 * 0.003)
        if i % 2:
            connections.pop(i // 2 % len(connections)).close()
    for connection in connections:
        connection.close()
    server.wait_until_idle()
    time.sleep(0.1)
    assert server.metric("upg:requests_total") - counts[0] == ended(server) - counts[1] > 0
    deadline = time.monotonic() + 5  # connections linger for the client to read their last answer
    while (server.descriptors(), server.threads()) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (server.descriptors(), server.threads()) == before
    assert server.metric("upg:num_requests_running") == server.metric("upg:num_requests_waiting") == 0


def ended(server):
    return server.metric("upg:request_success_total") + server.metric("upg:request_failure_total")


def test_a_reader_that_stops_reading_does_not_hold_memory(server):
    """Its socket's buffers fill; then its own output is bounded, and others do not notice."""
    slow = []
    for _ in range(3):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        body = json.dumps({**LONG, "stream": True, "logprobs": 20}).encode()
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
        slow.append(connection)
    for _ in range(5):
        assert server.complete(max_tokens=4).status == 200
    for connection in slow:
        connection.close()
    assert server.wait_until_idle() < 5


def test_keep_alive_comments_are_no_events(server):
    with raw_stream(server, "/v1/completions", {"prompt": "Once", "max_tokens": 3}) as connection:
        for line in connection.response().body.decode().split("\n"):
            assert line == "" or line.startswith(("data: ", ":"))
