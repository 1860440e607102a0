"""Starting, stopping, signals, logs, metrics, several models: what an operator sees."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import check_error
from upg_server import COMMAND, MODEL, ROOT, UpgServer

LONG = {"prompt": "Once", "max_tokens": 300, "temperature": 0, "ignore_eos": True}


def read_all(connection):
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


# ---- starting

def serve(*flags):
    return subprocess.run([COMMAND, "serve", *map(str, flags)], capture_output=True, text=True, timeout=60)


def test_check_says_whether_it_would_start(tmp_path):
    assert serve(MODEL, "--check", "--port", 0).returncode == 0
    taken = socket.create_server(("127.0.0.1", 0))
    broken = [
        (MODEL, "--port", taken.getsockname()[1]), (MODEL, "--port", 0, "--host", "not an address"),
        (tmp_path / "missing.upg",), (), (MODEL, "--models-dir", MODEL.parent),
        (MODEL, "--port", 0, "--api-key-file", tmp_path / "missing"), (MODEL, "--port", 99999),
        (MODEL, "--port", 0, "--ssl-cert-file", tmp_path / "missing"), (MODEL, "--parallel", 0),
    ]
    for flags in broken:
        done = serve(*flags, "--check")
        assert done.returncode in (1, 2, 3), (flags, done.returncode, done.stderr)
        assert done.stderr.strip() and "terminate" not in done.stderr
    taken.close()


def test_a_broken_model_ends_the_process_with_its_reason(tmp_path):
    broken = tmp_path / "broken.upg"
    broken.write_bytes(b"not a model" * 100)
    done = serve(broken, "--port", 0)
    assert done.returncode == 3
    assert "broken.upg" in done.stderr.splitlines()[-1]


def test_it_warns_of_open_doors():
    done = serve(MODEL, "--check", "--port", 0, "--host", "0.0.0.0")
    assert "warning" in done.stderr and "--api-key" in done.stderr
    assert "warning" not in serve(MODEL, "--check", "--port", 0).stderr
    assert "warning" not in serve(MODEL, "--check", "--port", 0, "--host", "0.0.0.0", "--api-key", "x").stderr


def test_flags_have_twins_in_the_environment(start):
    server = start(env={"UPG_ALIAS": "twin", "UPG_API_KEY": "a,b"})
    reply = server.get("/v1/models", headers={"Authorization": "Bearer b"})
    assert [model["id"] for model in reply.json["data"]] == ["twin"]


def test_it_says_when_it_is_not_ready(tmp_path):
    """A model that takes long to load: 503 until then, and nothing else is wrong."""
    server = UpgServer(wait=False)
    reply = server.get("/health")
    if reply.status != 200:
        check_error(reply, 503, "unavailable_error")
        check_error(server.complete(), 503, "unavailable_error")
    server.wait_for_event("ready")
    assert server.get("/health").json == {"status": "ok"}
    assert server.stop() == 0


def test_the_service_manager_is_told(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(30)
        server = UpgServer(env={"NOTIFY_SOCKET": path})
        assert b"READY=1" in manager.recv(1000)
        server.signal(signal.SIGTERM)
        assert b"STOPPING=1" in manager.recv(1000)
        assert server.stop() == 0


# ---- stopping

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_ends_what_has_begun(start, number):
    server = start("--parallel", 4)
    streams = [server.stream("/v1/completions", LONG) for _ in range(3)]
    for stream in streams:
        stream.recv(1)
    idle = socket.create_connection(("127.0.0.1", server.port))
    server.signal(number)
    server.wait_for_event("draining")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port)).close()
    for stream in streams:
        assert b"data: [DONE]" in read_all(stream)
    assert idle.recv(1) == b""
    assert server.process.wait(20) == 0


def test_a_drain_has_a_limit(start):
    server = start("--drain", 1)
    stream = server.stream("/v1/completions", {**LONG, "max_tokens": 900, "n": 32})
    stream.recv(1)
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 2.5
    assert b"[DONE]" not in read_all(stream)


def test_a_second_signal_ends_at_once(start):
    server = start("--parallel", 32)
    stream = server.stream("/v1/completions", {**LONG, "max_tokens": 900, "n": 32})
    stream.recv(1)
    server.signal(signal.SIGTERM)
    server.wait_for_event("draining")
    begin = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.process.wait(10) == 0
    assert time.monotonic() - begin < 1.5
    stream.close()


def test_the_port_is_free_at_once(start):
    server = start()
    stream = server.stream("/v1/completions", LONG)
    stream.recv(1)
    server.process.kill()
    server.process.wait()
    again = subprocess.run([COMMAND, "serve", str(MODEL), "--port", str(server.port), "--check"],
                           capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    stream.close()


def test_it_goes_on_after_it_was_stopped(server):
    server.signal(signal.SIGSTOP)
    time.sleep(1)
    server.signal(signal.SIGCONT)
    assert server.complete().status == 200
    server.signal(signal.SIGPIPE)
    assert server.complete().status == 200


# ---- logs

def test_logs_have_ids_and_no_texts(start):
    server = start()
    reply = server.post("/v1/completions", {"prompt": "a very private prompt", "max_tokens": 4},
                        headers={"X-Request-Id": "mine-1"})
    assert reply.headers["X-Request-Id"] == "mine-1"
    other = server.get("/v1/models?private=1").headers["X-Request-Id"]
    odd = server.get("/v1/models", headers={"X-Request-Id": "a b\tc"}).headers["X-Request-Id"]
    assert "a b" not in odd
    server.get("/health")
    server.stop()
    log = "".join(server.lines)
    requests = {event["id"]: event for event in server.events() if event["event"] == "request"}
    assert {"mine-1", other, odd} <= set(requests)
    assert requests["mine-1"]["status"] == 200 and requests["mine-1"]["path"] == "/v1/completions"
    assert requests["mine-1"]["seconds"] > 0 and requests["mine-1"]["bytes_out"] > 0
    assert "private" not in log
    assert all(json.loads(line) for line in server.lines if line.startswith("{"))


def test_prompts_are_logged_when_asked_for(start):
    server = start("--log-prompts")
    server.complete("a very private prompt")
    server.stop()
    assert "a very private prompt" in "".join(server.lines)


def test_a_path_cannot_forge_a_log_line(start, tmp_path):
    log = tmp_path / "log"
    process = subprocess.Popen([COMMAND, "serve", str(MODEL), "--port", "0", "--log-file", str(log)],
                               stderr=subprocess.PIPE, text=True)
    port = int(re.search(r":(\d+)/", process.stderr.readline()).group(1))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /x%0aforged\x20 HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.recv(1000)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b'GET /x"forged=1\\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n')
        connection.recv(1000)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    for line in log.read_text().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \w+ ", line), line
        assert "\x1b" not in line


# ---- metrics

def test_metrics_count_exactly(start):
    server = start()
    for i in range(4):
        assert server.complete(f"{i} Once", max_tokens=5, ignore_eos=True).status == 200
    assert server.complete(temperature=-1).status == 400
    stream = server.stream("/v1/completions", {**LONG, "max_tokens": 900})
    stream.recv(1)
    stream.close()
    server.wait_until_idle()
    time.sleep(0.1)
    assert server.metric("upg:requests_total") == 5
    assert server.metric("upg:request_success_total") == 4
    assert server.metric("upg:request_failure_total") == 1
    metrics = server.metrics()
    name = 'model_name="books-12m"'
    assert metrics[f'upg:request_failure_total{{{name},reason="cancelled"}}'] == 1
    assert metrics[f'upg:time_to_first_token_seconds_count{{{name}}}'] == 5
    assert metrics[f'upg:request_generation_tokens_count{{{name}}}'] == 5
    assert metrics[f'upg:generation_tokens_total{{{name}}}'] >= 20
    assert metrics[f'upg:num_requests_running{{{name}}}'] == 0
    assert metrics['upg:http_requests_total{route="/v1/completions",status="400"}'] == 1


def test_the_format_of_the_metrics(server):
    text = server.get("/metrics").body.decode()
    seen = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in seen
            seen.add(name)
        elif not line.startswith("#"):
            assert re.fullmatch(r'[a-zA-Z_:][\w:]*(\{\w+="[^"]*"(,\w+="[^"]*")*\})? (\S+)', line), line


def test_no_request_can_make_series(server):
    server.get("/metrics")
    before = len(server.metrics())
    for i in range(300):
        server.get(f"/nowhere/{i}")
        server.post("/v1/completions", {"model": f"model-{i}", "prompt": [], "user": f"user-{i}"})
    assert len(server.metrics()) - before < 10
    quickest = 10
    for _ in range(5):  # the machine may be busy with other things
        begin = time.monotonic()
        server.get("/metrics")
        quickest = min(quickest, time.monotonic() - begin)
    assert quickest < 0.1


def metric_names(text):
    return set(re.findall(r"upg:\w+", text))


def test_the_dashboard_shows_what_there_is(server):
    server.complete()
    there = {re.sub(r"\{.*", "", name) for name in server.metrics()}
    dashboard = (ROOT / "contrib/grafana/upg.json").read_text()
    json.loads(dashboard)
    assert metric_names(dashboard) <= there
    documented = metric_names((ROOT / "docs/server.md").read_text())
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in there} == documented


# ---- several models

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("one", "two", "three"):
        shutil.copytree(MODEL, folder / name)
    return folder


def test_models_are_loaded_when_asked_for(start, folder):
    server = start("--models-dir", folder, "--models-max", 2, "--idle", 4, model=None)
    assert [model["id"] for model in server.get("/v1/models").json["data"]] == ["one", "three", "two"]
    assert check_error(server.get("/props"), 503)["code"] == "model_not_loaded"
    for name in ("one", "two", "three", "one"):
        reply = server.complete(model=name)
        assert (reply.status, reply.json["model"]) == (200, name)
        loaded = [model["id"] for model in server.get("/v1/models").json["data"] if model["loaded"]]
        assert name in loaded and len(loaded) <= 2
        assert server.get(f"/props?model={name}").json["id"] == name
    assert check_error(server.get("/props?model=four"), 404)["code"] == "model_not_found"
    error = check_error(server.complete(model="four"), 404)
    assert error["code"] == "model_not_found"
    deadline = time.monotonic() + 20
    while any(model["loaded"] for model in server.get("/v1/models").json["data"]):
        assert time.monotonic() < deadline, "idle models are unloaded"
        time.sleep(0.1)
    assert server.complete(model="two").status == 200
