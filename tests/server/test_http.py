"""HTTP/1.1 by its RFCs (9110 semantics, 9112 framing): what must be taken, and what must be refused.

The list follows the MUSTs of both and the cases that request smuggling is made of.
"""

import email.utils
import re
import socket
import time

import pytest

from raw_http import Connection, dribble

HOST = b"Host: localhost\r\n"
OK = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
BODY = b'{"content":"a"}'
TOKENIZE = b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = TOKENIZE + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n"


def with_length(extra=b"", body=BODY):
    return TOKENIZE + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.fixture
def connect(server):
    connections = []

    def open_one():
        connections.append(Connection(server.port))
        return connections[-1]

    yield open_one
    for connection in connections:
        connection.close()


# ---- what must be taken: the request, and the status of its answer

TAKEN = {
    "plain": OK,
    "empty lines before it": b"\r\n\r\n" + OK,
    "absolute form": b"GET http://test/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "query": b"GET /health?a=b&c=/d?e HTTP/1.1\r\n" + HOST + b"\r\n",
    "host with port": b"GET /health HTTP/1.1\r\nHost: test:8080\r\n\r\n",
    "host in brackets": b"GET /health HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
    "field names in any case": b"GET /health HTTP/1.1\r\nhOsT: test\r\nACCEPT: */*\r\n\r\n",
    "no space after the colon": b"GET /health HTTP/1.1\r\nHost:test\r\n\r\n",
    "white space around the value": b"GET /health HTTP/1.1\r\nHost: \t test \t \r\n\r\n",
    "an empty value": b"GET /health HTTP/1.1\r\n" + HOST + b"X-Empty:\r\n\r\n",
    "an unknown field": b"GET /health HTTP/1.1\r\n" + HOST + b"X-Odd!#$%&'*+-.^_`|~: x\r\n\r\n",
    "obsolete text in a value": b"GET /health HTTP/1.1\r\n" + HOST + b"X-Name: caf\xe9\r\n\r\n",
    "an offer to upgrade": b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\n"
                           b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "HTTP/1.0 without a host": b"GET /health HTTP/1.0\r\n\r\n",
    "a body with its length": with_length(),
    "a length with zeros before it": TOKENIZE + b"Content-Length: 000%d\r\n\r\n" % len(BODY) + BODY,
    "a body of no coding": with_length(b"Content-Encoding: identity\r\n"),
    "a body that a GET does not need": b"GET /health HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc",
    "chunks": CHUNKED + b"f\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunks, in any case": TOKENIZE + b"Transfer-Encoding: Chunked\r\n\r\nF\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunks of one byte": CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
    "chunk sizes with zeros": CHUNKED + b"0000f\r\n" + BODY + b"\r\n000\r\n\r\n",
    "chunk extensions": CHUNKED + b"f;a=b;c=\"d;e\"\r\n" + BODY + b"\r\n0;x\r\n\r\n",
    "trailers": CHUNKED + b"f\r\n" + BODY + b"\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
    "a host that has nothing in it": b"GET /health HTTP/1.1\r\nHost:\r\n\r\n",
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken(connect, name):
    connection = connect()
    connection.send(TAKEN[name])
    assert connection.response().status == 200
    if b"HTTP/1.0" not in TAKEN[name]:
        connection.send(OK)
        assert connection.response().status == 200, "the next request on the same connection"


@pytest.mark.parametrize("name", ["a body with its length", "chunks", "trailers", "chunk extensions"])
def test_taken_byte_by_byte(connect, name):
    connection = connect()
    dribble(connection, TAKEN[name])
    assert connection.response().status == 200


def test_pipelined_requests_are_answered_in_order(connect):
    connection = connect()
    connection.send(OK + with_length() + b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n" + OK)
    assert [connection.response().status for _ in range(4)] == [200, 200, 404, 200]


# ---- what must be refused. The connection ends, and nothing after it is taken for a request.

REFUSED = {
    # the request line
    "no version": (b"GET /health\r\n\r\n", (400,)),
    "no target": (b"GET HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "no method": (b" /health HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "two spaces": (b"GET  /health HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a tab": (b"GET\t/health HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a space at the end": (b"GET /health HTTP/1.1 \r\n" + HOST + b"\r\n", (400,)),
    "a space in the target": (b"GET /hea lth HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "bytes that no target has": (b"GET /h\xc3\xa9alth HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "NUL in the target": (b"GET /health\0 HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a target without its slash": (b"GET health HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "an asterisk that is no OPTIONS": (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a fragment": (b"GET /health#x HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "lower-case version": (b"GET /health http/1.1\r\n" + HOST + b"\r\n", (400, 505)),
    "another protocol": (b"GET /health ICY/1.1\r\n" + HOST + b"\r\n", (400, 505)),
    "version with more digits": (b"GET /health HTTP/11.1\r\n" + HOST + b"\r\n", (400, 505)),
    "version without a point": (b"GET /health HTTP/1\r\n" + HOST + b"\r\n", (400, 505)),
    "a later minor version": (b"GET /health HTTP/1.2\r\n" + HOST + b"\r\n", (505,)),
    "version 2": (b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n", (400, 505)),
    "version 0.9": (b"GET /health HTTP/0.9\r\n" + HOST + b"\r\n", (400, 505)),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100 + b"\r\n\r\n", (400,)),
    "a method with a bad letter": (b"G(T /health HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "no request at all": (b"hello\r\n\r\n", (400,)),
    # line ends
    "CR alone after the request line": (b"GET /health HTTP/1.1\rHost: test\r\n\r\n", (400,)),
    "CR in a value": (b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", (400,)),
    "CR CR LF": (b"GET /health HTTP/1.1\r\r\n" + HOST + b"\r\n", (400,)),
    # fields
    "no host": (b"GET /health HTTP/1.1\r\nAccept: */*\r\n\r\n", (400,)),
    "two hosts": (b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", (400,)),
    "two hosts that differ": (b"GET /health HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n", (400,)),
    "host with a path": (b"GET /health HTTP/1.1\r\nHost: test/v1\r\n\r\n", (400,)),
    "host with a query": (b"GET /health HTTP/1.1\r\nHost: test?x\r\n\r\n", (400,)),
    "host with a user": (b"GET /health HTTP/1.1\r\nHost: me@test\r\n\r\n", (400,)),
    "a list of hosts": (b"GET /health HTTP/1.1\r\nHost: a, b\r\n\r\n", (400,)),
    "host with a space": (b"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n", (400,)),
    "a space before the colon": (b"GET /health HTTP/1.1\r\nHost : test\r\n\r\n", (400,)),
    "a space before a name": (b"GET /health HTTP/1.1\r\n Host: test\r\n\r\n", (400,)),
    "a tab in a name": (b"GET /health HTTP/1.1\r\n" + HOST + b"X\tY: a\r\n\r\n", (400,)),
    "no colon": (b"GET /health HTTP/1.1\r\n" + HOST + b"broken\r\n\r\n", (400,)),
    "no name": (b"GET /health HTTP/1.1\r\n" + HOST + b": a\r\n\r\n", (400,)),
    "NUL in a value": (b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", (400,)),
    "NUL in a name": (b"GET /health HTTP/1.1\r\n" + HOST + b"X\0: a\r\n\r\n", (400,)),
    "bell in a value": (b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\x07b\r\n\r\n", (400,)),
    "bytes that no name has": (b"GET /health HTTP/1.1\r\n" + HOST + b"X\xc3\xa9: a\r\n\r\n", (400,)),
    # framing
    "length and chunks": (TOKENIZE + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    "chunks and length": (TOKENIZE + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", (400,)),
    "two lengths": (TOKENIZE + b"Content-Length: 15\r\nContent-Length: 16\r\n\r\n" + BODY, (400,)),
    "the same length twice": (TOKENIZE + b"Content-Length: 15\r\nContent-Length: 15\r\n\r\n" + BODY, (400,)),
    "coding out of HTTP/1.0": (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", (400,)),
    "chunked not last": (TOKENIZE + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", (400, 501)),
    "chunked twice": (TOKENIZE + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    "two codings": (TOKENIZE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    "a coding before chunked": (TOKENIZE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    "a space before the colon of a coding":
        (TOKENIZE + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", (400,)),
    "a body in a coding": (with_length(b"Content-Encoding: gzip\r\n"), (415,)),
    "an unknown expectation": (with_length(b"Expect: 200-maybe\r\n"), (417,)),
    # chunks
    "a chunk with too much": (CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n", (400,)),
    "a chunk that ends in LF CR": (CHUNKED + b"3\r\nabc\n\r0\r\n\r\n", (400,)),
    "a chunk without an end": (CHUNKED + b"3\r\nabc0\r\n\r\n", (400,)),
}
for value in ("+15", "-1", "0x5", "1_0", "1 5", "15,15", "15, 15", "15;", "1e1", "15.0", "", "٣",
              "18446744073709551616", "18446744073709551631", "9" * 40, "NaN"):
    REFUSED[f"the length {value!r}"] = (
        TOKENIZE + b"Content-Length: " + value.encode() + b"\r\n\r\n" + BODY, (400, 413))
for value in ("xchunked", "chunked;a=b", "identity", "gzip", "\x0bchunked", "chun ked", ",chunked", '"chunked"', ""):
    REFUSED[f"the coding {value!r}"] = (
        TOKENIZE + b"Transfer-Encoding: " + value.encode() + b"\r\n\r\nf\r\n" + BODY + b"\r\n0\r\n\r\n",
        (400, 501))
for value in ("-2", "+2", "0x5", " 5", "", "g", "5 5", "5,", "10000000000000000", "fffffffffffffffff",
              "8000000000000000", "ffffffffffffffff", "5\t", "1_0", "٣", ";a"):
    REFUSED[f"the chunk size {value!r}"] = (CHUNKED + value.encode() + b"\r\nabcde\r\n0\r\n\r\n", (400, 413))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(connect, name):
    request, statuses = REFUSED[name]
    connection = connect()
    connection.send(request + SMUGGLED)
    response = connection.response()
    assert response.status in statuses, response
    assert response.get("Content-Type") == "application/json"
    assert b'"error"' in response.body
    assert response.get("Connection") == "close"
    assert connection.closed(), "a second answer, or an open connection"


FOLDED = b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\r\n  b\r\n\r\n"
LF_ALONE = b"GET /health HTTP/1.1\nHost: test\n\n"


@pytest.mark.parametrize("request_bytes", [FOLDED, LF_ALONE])
def test_what_may_be_taken_or_refused_is_one_request(connect, request_bytes):
    connection = connect()
    connection.send(request_bytes)
    assert connection.response().status in (200, 400)


# A server that lets the first end somewhere else than its client answers the second.
SMUGGLING = {
    "length before chunks": TOKENIZE + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding with a tab": TOKENIZE + b"Content-Length: 3\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    "coding folded": TOKENIZE + b"Content-Length: 3\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "coding after a bare CR": TOKENIZE + b"X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "length after a bare LF": TOKENIZE + b"X: a\nContent-Length: 60\r\n\r\n",
    "name with an underscore": TOKENIZE + b"Transfer_Encoding: chunked\r\nContent-Length: 15\r\n\r\n" + BODY,
    "an end in the extension": CHUNKED + b"0;\r\n\r\n" + b"X: 1\r\n\r\n",
    "a bare LF in the extension": CHUNKED + b"f;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a bare CR after the size": CHUNKED + b"f\rX\r\n" + BODY + b"\r\n0\r\n\r\n",
    "LF after the size": CHUNKED + b"f\n" + BODY + b"\r\n0\r\n\r\n",
    "LF after the data": CHUNKED + b"f\r\n" + BODY + b"\n0\r\n\r\n",
    "length among the trailers": CHUNKED + b"f\r\n" + BODY + b"\r\n0\r\nContent-Length: 60\r\n\r\n",
    "a request as a body": with_length(body=SMUGGLED),
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_no_request_is_smuggled(connect, name):
    """One request may get one answer; what hides in its body never gets one of its own."""
    connection = connect()
    connection.send(SMUGGLING[name] + b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n")
    answers = []
    connection.socket.settimeout(1)
    try:
        while connection.buffer or connection.more():
            answers.append(connection.response().status)
    except (TimeoutError, AssertionError):
        pass
    assert 0 < len(answers) <= 2
    assert answers[1:] in ([], [404]), f"{answers}: the hidden request would answer 200"


# ---- answers

def test_answers_carry_what_they_must(connect):
    connection = connect()
    connection.send(OK)
    response = connection.response()
    date = email.utils.parsedate_to_datetime(response.get("Date"))
    assert abs(date.timestamp() - time.time()) < 5
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", response.get("Date"))
    assert response.get("X-Content-Type-Options") == "nosniff"
    assert response.get("X-Request-Id")


def test_head_is_get_without_a_body(connect):
    for path in (b"/health", b"/", b"/v1/models", b"/nowhere"):
        connection = connect()
        connection.send(b"GET %b HTTP/1.1\r\n" % path + HOST + b"\r\n")
        whole = connection.response()
        connection.send(b"HEAD %b HTTP/1.1\r\n" % path + HOST + b"\r\n" + OK)
        head = connection.response("HEAD")
        assert head.status == whole.status
        assert head.get("Content-Length") == whole.get("Content-Length")
        assert head.get("Content-Type") == whole.get("Content-Type")
        assert connection.response().status == 200, "no body of HEAD stands before the next answer"


def test_methods(connect):
    connection = connect()
    for method, allowed in ((b"DELETE", "GET"), (b"PUT", "GET"), (b"get", "GET"), (b"TRACE", "GET"),
                            (b"POST", "GET"), (b"BREW", "GET")):
        connection.send(method + b" /v1/models HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n")
        response = connection.response()
        assert response.status == 405, method
        assert allowed in response.get("Allow")
        assert b'"error"' in response.body
    connection.send(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")
    assert connection.response().status in (200, 204)
    connection.send(b"OPTIONS /v1/chat/completions HTTP/1.1\r\n" + HOST + b"\r\n")
    assert "POST" in connection.response().get("Allow")


def test_connect_opens_no_tunnel(connect):
    connection = connect()
    connection.send(b"CONNECT test:80 HTTP/1.1\r\n" + HOST + b"\r\n" + OK)
    assert connection.response().status in (400, 404, 405, 501)


def test_persistence(connect):
    connection = connect()
    connection.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + SMUGGLED)
    assert connection.response().get("Connection") == "close"
    assert connection.closed()
    connection = connect()
    connection.send(b"GET /health HTTP/1.0\r\n\r\n")
    assert connection.response().get("Transfer-Encoding") is None
    assert connection.closed()
    connection = connect()
    connection.send(b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    kept = connection.response().get("Connection") == "keep-alive"
    assert kept != connection.closed(1)


def test_a_stream_for_http_1_0_ends_with_the_connection(connect):
    body = b'{"prompt":"Once","max_tokens":3,"stream":true}'
    connection = connect()
    connection.send(b"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(body) + body)
    response = connection.response()
    assert response.get("Transfer-Encoding") is None
    assert response.body.endswith(b"data: [DONE]\n\n")


def test_expectations(connect):
    connection = connect()
    head = TOKENIZE + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(BODY)
    connection.send(head)
    assert connection.response().status == 100
    connection.send(BODY)
    assert connection.response().status == 200
    connection.send(head.replace(b"%d\r\n" % len(BODY), b"999999999\r\n"))
    assert connection.response().status == 413, "said before the body is sent"
    assert connection.closed()
    connection = connect()
    connection.send(head.replace(b"HTTP/1.1", b"HTTP/1.0") + BODY)
    assert connection.response().status == 200, "no 100 for HTTP/1.0"


def test_conditional_requests(connect):
    connection = connect()

    def get(condition):
        connection.send(b"GET /app.js HTTP/1.1\r\n" + HOST + condition + b"\r\n")
        return connection.response()

    whole = get(b"")
    tag = whole.get("ETag").encode()
    for value in (tag, b"W/" + tag, b'"other", ' + tag, tag + b' , "other"', b"*"):
        response = get(b"If-None-Match: " + value + b"\r\n")
        assert (response.status, response.get("ETag")) == (304, tag.decode()), value
    assert get(b'If-None-Match: "other"\r\n').status == 200
    assert whole.get("Content-Security-Policy").startswith("default-src 'self'")


# ---- sizes

def test_sizes(connect):
    long_path = b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    big_field = b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100000 + b"\r\n\r\n"
    long_name = b"GET /health HTTP/1.1\r\n" + HOST + b"a" * 100000 + b": b\r\n\r\n"
    many = b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 10000 + b"\r\n"
    for request, statuses in ((long_path, (414, 431)), (big_field, (431,)), (long_name, (431, 400)),
                              (many, (431,)), (b"A" * 200000, (400, 414, 431))):
        connection = connect()
        try:
            connection.send(request)
        except ConnectionError:
            pass  # refused before the end: the answer is there
        assert connection.response().status in statuses
        assert connection.closed()


def test_a_long_target_is_414(connect):
    connection = connect()
    connection.send(b"GET /" + b"a" * 10000 + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert connection.response().status == 414


def test_a_body_above_the_limit(connect):
    connection = connect()
    connection.send(TOKENIZE + b"Content-Length: 99999999999\r\n\r\n")
    assert connection.response().status == 413
    assert connection.closed()
    connection = connect()
    connection.send(CHUNKED)
    piece = b"100000\r\n" + b"a" * 0x100000 + b"\r\n"
    try:
        for _ in range(40):
            connection.send(piece)
    except ConnectionError:
        pass
    assert connection.response().status == 413


def test_a_long_chunk_extension_is_refused(connect):
    connection = connect()
    try:
        connection.send(CHUNKED + b"f;" + b"a" * 200000)
        connection.send(b"\r\n" + BODY + b"\r\n0\r\n\r\n")
    except ConnectionError:
        pass
    assert connection.response().status in (400, 413, 431)


# ---- what stops half way

def test_half_a_chunked_body_is_no_body(connect):
    connection = connect()
    connection.send(CHUNKED + b"f\r\n" + BODY + b"\r\n")
    assert connection.silent()
    connection.socket.shutdown(socket.SHUT_WR)
    assert b"200 OK" not in connection.buffer
    connection.closed()
    assert b"200 OK" not in connection.buffer


def test_a_reset_at_every_point(server):
    stages = [b"", b"GET", OK[:20], TOKENIZE, with_length()[:-3], CHUNKED + b"f\r\nab", with_length(),
              OK * 50]
    server.get("/health")
    before = server.descriptors()
    for stage in stages * 5:
        connection = Connection(server.port)
        connection.send(stage)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    deadline = time.monotonic() + 5
    while server.descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.descriptors() <= before


def test_a_slow_header_ends_at_its_deadline(server):
    """A byte now and then does not keep a connection: the time of the whole header counts."""
    connections = [Connection(server.port, timeout=30) for _ in range(20)]
    begin = time.monotonic()
    for connection in connections:
        connection.send(b"GET /health HTTP/1.1\r\n")
    while not connections[0].buffer and time.monotonic() - begin < 20:
        for connection in connections:
            try:
                connection.send(b"a")
            except ConnectionError:
                pass
        assert server.get("/health").status == 200
        if not connections[0].silent(0.5):
            break
    assert 8 < time.monotonic() - begin < 15
    for connection in connections:
        assert connection.response().status == 408
        connection.close()
