"""Keys, origins, and what a request may learn without them."""

import os
import signal
import statistics
import time

import pytest

from conftest import check_error
from raw_http import Connection

KEY = "sk-secret-0123456789"
PUBLIC = {"/health", "/v1/health"}
PAGE = {"/", "/app.js", "/style.css", "/favicon.svg"}


@pytest.fixture(scope="module")
def locked():
    from upg_server import UpgServer
    server = UpgServer("--api-key", KEY)
    yield server
    assert server.stop() == 0
    log = "".join(server.lines)
    assert KEY not in log and "secret" not in log


def bearer(value):
    return {"Authorization": value}


WRONG = {
    "none": {}, "empty": bearer(""), "no scheme": bearer(KEY), "no key": bearer("Bearer"), "blank": bearer("Bearer "),
    "wrong": bearer("Bearer wrong"), "prefix": bearer(f"Bearer {KEY[:-1]}"), "longer": bearer(f"Bearer {KEY}x"),
    "other case": bearer(f"Bearer {KEY.upper()}"), "basic": bearer("Basic c2VjcmV0"), "two": bearer(f"Bearer {KEY} x"),
    "quoted": bearer(f'Bearer "{KEY}"'), "long": bearer("Bearer " + "a" * 20000), "another header": {"X-Api-Key": KEY},
    "cookie": {"Cookie": f"key={KEY}"},
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_keys(locked, name):
    reply = locked.get("/v1/models", headers=WRONG[name])
    error = check_error(reply, 401, "authentication_error")
    assert error["code"] == "invalid_api_key"
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert KEY not in reply.body.decode()


def test_right_keys(locked):
    for value in (f"Bearer {KEY}", f"bearer {KEY}", f"BEARER {KEY}"):
        assert locked.get("/v1/models", headers=bearer(value)).status == 200, value


def test_two_headers_are_no_key(locked):
    with Connection(locked.port) as connection:
        line = f"Authorization: Bearer {KEY}\r\n".encode()
        connection.send(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n" + line + b"Authorization: Bearer x\r\n\r\n")
        assert connection.response().status in (400, 401)


def test_a_key_in_the_query_is_none(locked):
    for name in ("key", "api_key", "access_token", "token"):
        assert locked.get(f"/v1/models?{name}={KEY}").status == 401


def test_every_route_asks_for_a_key(locked):
    """The list is the server's own."""
    paths = locked.get("/openapi.json", headers=bearer(f"Bearer {KEY}")).json["paths"]
    assert len(paths) > 10
    for path, methods in paths.items():
        for method in methods:
            reply = locked.request(method.upper(), path.replace("{id}", "x"), b"{}" if method == "post" else None)
            assert (reply.status == 200) == (path in PUBLIC), (method, path, reply.status)
            assert reply.status in (200, 401)
    assert {path for path in paths if path in PUBLIC} == PUBLIC


def test_odd_spellings_of_a_path_are_no_way_around(locked):
    for path in ("//v1/models", "/v1//models", "/v1/models/", "/v1/models?", "/V1/models", "/v1/./models",
                 "/health/../v1/models", "/v1/models;x", "/%761/models", "/v1/models%00", "/health/v1/models",
                 "/v1/models%2fx", "/app.js/../v1/models", "/nowhere"):
        assert locked.get(path).status in (400, 401, 404), path
        assert b"books" not in locked.get(path).body
    with Connection(locked.port) as connection:
        connection.send(b"GET http://a/health HTTP/1.1\r\nHost: a\r\n\r\n"
                        b"GET http://a/v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [connection.response().status, connection.response().status] == [200, 401]


def test_the_page_needs_no_key_and_tells_nothing(locked):
    for path in PAGE:
        reply = locked.get(path)
        assert reply.status == 200 and b"books-12m" not in reply.body
        assert reply.headers["Content-Security-Policy"].startswith("default-src 'self'")


def test_comparing_keys_takes_the_same_time(locked):
    """First byte wrong, last byte wrong, in turns; Welch's t below 4.5 (the TVLA bound)."""
    wrong = [bearer("Bearer x" + KEY[1:]), bearer("Bearer " + KEY[:-1] + "x")]
    times = [[], []]
    with Connection(locked.port) as connection:
        for i in range(1200):
            which = i % 2
            request = f"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: {wrong[which]['Authorization']}\r\n\r\n"
            begin = time.perf_counter()
            connection.send(request.encode())
            assert connection.response().status == 401
            times[which].append(time.perf_counter() - begin)
    cut = [sorted(one)[: len(one) * 9 // 10] for one in times]  # without the scheduler's outliers
    a, b = cut
    t = (statistics.mean(a) - statistics.mean(b)) / (
        statistics.variance(a) / len(a) + statistics.variance(b) / len(b)) ** 0.5
    assert abs(t) < 4.5


def test_keys_from_a_file_are_read_again(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# comment\n\nold\nother  \n")
    server = start("--api-key-file", keys)
    assert server.get("/v1/models", headers=bearer("Bearer old")).status == 200
    assert server.get("/v1/models", headers=bearer("Bearer other")).status == 200
    assert server.get("/v1/models", headers=bearer("Bearer # comment")).status == 401
    stream = server.stream("/v1/completions", {"prompt": "Once", "max_tokens": 900, "ignore_eos": True},
                           headers=bearer("Bearer old"))
    stream.recv(1)
    keys.write_text("new\n")
    server.signal(signal.SIGHUP)
    server.wait_for_event("keys read again")
    assert server.get("/v1/models", headers=bearer("Bearer old")).status == 401
    assert server.get("/v1/models", headers=bearer("Bearer new")).status == 200
    assert len(server.get("/slots", headers=bearer("Bearer new")).json) == 1, "the stream goes on"
    keys.write_text("")
    server.signal(signal.SIGHUP)
    server.wait_for_event("keys kept as they were")
    assert server.get("/v1/models", headers=bearer("Bearer new")).status == 200
    os.unlink(keys)
    server.signal(signal.SIGHUP)
    time.sleep(0.3)
    assert server.get("/v1/models", headers=bearer("Bearer new")).status == 200
    stream.close()


def test_keys_stay_out_of_metrics_and_props(locked):
    for path in ("/metrics", "/props", "/openapi.json"):
        assert KEY not in locked.get(path, headers=bearer(f"Bearer {KEY}")).body.decode()


def test_public_metrics(start):
    server = start("--api-key", KEY, "--metrics-public")
    assert server.get("/metrics").status == 200
    assert server.get("/v1/models").status == 401


def test_an_unneeded_key_is_ignored(server):
    assert server.get("/v1/models", headers=bearer("Bearer anything")).status == 200


def test_other_origins_get_nothing_unless_asked_for(server):
    reply = server.get("/v1/models", headers={"Origin": "https://evil.example"})
    assert reply.headers["Access-Control-Allow-Origin"] is None
    reply = server.request("OPTIONS", "/v1/chat/completions", headers={
        "Origin": "https://evil.example", "Access-Control-Request-Method": "POST"})
    assert reply.headers["Access-Control-Allow-Origin"] is None


def test_allowed_origins(start):
    server = start("--cors-origin", "https://good.example", "--api-key", KEY)
    ask = {"Origin": "https://good.example", "Access-Control-Request-Method": "POST",
           "Access-Control-Request-Headers": "authorization,content-type"}
    reply = server.request("OPTIONS", "/v1/chat/completions", headers=ask)
    assert reply.status in (200, 204), "before a key is checked"
    assert reply.headers["Access-Control-Allow-Origin"] == "https://good.example"
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    assert "authorization" in reply.headers["Access-Control-Allow-Headers"].lower()
    reply = server.get("/v1/models", headers={"Origin": "https://good.example"})
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (401, "https://good.example")
    for origin in ("https://good.example.evil", "http://good.example", "null", "https://good.example:1"):
        reply = server.get("/v1/models", headers={"Origin": origin})
        assert reply.headers["Access-Control-Allow-Origin"] is None
