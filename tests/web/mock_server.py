"""A stand-in for `upg serve` whose model says exactly what a test tells it to.

It serves the page's real files with the server's real Content-Security-Policy. `answers` is a list
of scripts, taken in turn: each a list of text pieces, or an Answer.
"""

import dataclasses
import http.server
import json
import pathlib
import threading
import time
import urllib.parse

PAGE = pathlib.Path(__file__).resolve().parents[2] / "src/server/web"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclasses.dataclass
class Answer:
    pieces: list = dataclasses.field(default_factory=list)
    delay: float = 0.0          # seconds before each piece
    status: int = 200           # other than 200: `error` is the body's error object
    error: dict | None = None   # with status 200: an error event after the pieces
    headers: dict = dataclasses.field(default_factory=dict)
    cut: bool = False           # the connection ends without [DONE]


def tensors(layers=6, hidden=320, vocabulary=4096):
    shapes = {"self_attn.qkv_proj": (640, hidden, "path3"), "self_attn.o_proj": (hidden, hidden, "path4"),
              "mlp.gate_up_proj": (2048, hidden, "path3"), "mlp.down_proj": (hidden, 1024, "path2")}
    bits = {"path2": 2.06, "path3": 3.05, "path4": 4.05, "raw": 16.0}
    rows = [("model.embed_tokens.weight", vocabulary, hidden, "path4")]
    rows += [(f"model.layers.{layer}.{name}.weight", r, c, "path3" if (layer + r) % 5 else codec)
             for layer in range(layers) for name, (r, c, codec) in shapes.items()]
    rows += [("model.norm.weight", 1, hidden, "raw"), ("lm_head.weight", vocabulary, hidden, "path4")]
    return [{"name": name, "codec": codec, "rows": r, "cols": c, "bits_per_weight": bits[codec],
             "bytes": int(r * c * bits[codec] / 8)} for name, r, c, codec in rows]


def props():
    return {
        "id": "books-12m", "version": "0.1.0",
        "model": {"architecture": "Phi3ForCausalLM", "profile": "10x", "parameters": 11797760,
                  "file_bytes": 5379072, "ratio_f32": 8.77, "bits_per_weight": 3.65, "layers": 6,
                  "hidden": 320, "vocabulary": 4096, "context": 1024, "model_context": 1024,
                  "backend": "CPU, avx512vnni, 2 threads", "chat_template": "phi-4"},
        "memory": {"weight_bytes": 4700000, "cache_bytes": 15728640, "cache_used_bytes": 2097152,
                   "resident_bytes": 31000000},
        "default_sampling": {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05,
                             "repeat_penalty": 1.0, "presence_penalty": 0.0,
                             "frequency_penalty": 0.0},
        "tensors": tensors(),
    }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, body, content_type="application/json", headers=None):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'self'")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status, message, kind, headers=None, code=None):
        self.reply(status, {"error": {"message": message, "type": kind, "param": None, "code": code}},
                   headers=headers)

    def allowed(self):
        key = self.server.mock.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self.fail(401, "The API key is missing or wrong.", "authentication_error",
                  code="invalid_api_key")
        return False

    def do_GET(self):
        mock = self.server.mock
        mock.requests.append((self.path, None))
        path = self.path.split("?")[0]
        file = PAGE / ("index.html" if path == "/" else path[1:])
        if "/" not in path[1:] and file.suffix in TYPES and file.is_file():
            self.reply(200, file.read_bytes(), TYPES[file.suffix])
        elif not self.allowed():
            pass
        elif mock.loading:
            self.fail(503, "Loading model", "unavailable_error")
        elif path == "/v1/models":
            self.reply(200, {"object": "list", "data": [
                {"id": name, "object": "model", "created": 0, "owned_by": "upg"}
                for name in mock.models]})
        elif path == "/props" and not mock.loaded:
            self.fail(503, "not loaded", "unavailable_error", code="model_not_loaded")
        elif path == "/props":
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            self.reply(200, {**mock.props, "id": query.get("model", [mock.props["id"]])[0]})
        elif path == "/slots":
            self.reply(200, mock.slots)
        else:
            self.fail(404, f"There is no {path}.", "not_found_error")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.mock.requests.append((self.path, body))
        if not self.allowed():
            return
        answer = self.server.mock.next_answer()
        if answer.status != 200:
            self.reply(answer.status, {"error": answer.error}, headers=answer.headers)
            return
        self.stream(answer, body)

    def stream(self, answer, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        begin = time.monotonic()
        try:
            self.event({"role": "assistant", "content": ""})
            for piece in answer.pieces:
                time.sleep(answer.delay)
                self.event({"content": piece})
            if answer.error:
                self.data({"error": answer.error})
            elif not answer.cut:
                self.end(len(answer.pieces), body, time.monotonic() - begin)
        except (BrokenPipeError, ConnectionResetError):
            self.server.mock.cancelled += 1

    def end(self, tokens, body, seconds):
        self.event({}, "stop")
        prompt = sum(len(message["content"].split()) for message in body["messages"])
        self.data({"object": "chat.completion.chunk", "model": "books-12m", "choices": [],
                   "usage": {"prompt_tokens": prompt, "completion_tokens": tokens,
                             "total_tokens": prompt + tokens,
                             "prompt_tokens_details": {"cached_tokens": prompt // 2}},
                   "timings": {"predicted_per_second": tokens / max(seconds, 0.01)}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, delta, finish=None):
        self.data({"object": "chat.completion.chunk", "model": "books-12m",
                   "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def data(self, value):
        self.wfile.write(b": keep-alive\n\ndata: " + json.dumps(value).encode() + b"\n\n")


class MockServer:
    def __init__(self):
        self.answers, self.requests, self.cancelled = [], [], 0
        self.key, self.loading, self.loaded = None, False, True
        self.models = ["books-12m"]
        self.props = props()
        self.slots = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.mock = self
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next_answer(self):
        answer = self.answers.pop(0) if self.answers else Answer(["Hello."])
        return answer if isinstance(answer, Answer) else Answer(answer)

    def chats(self):
        """The bodies of the chat requests so far."""
        return [body for path, body in self.requests if path == "/v1/chat/completions"]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
