"""`upg serve` as a child process, and what tests ask it."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = os.environ.get("UPG_TEST_COMMAND", str(ROOT / "build/release/src/cli/upg"))
MODEL = ROOT / "models/books-12m"
START_SECONDS = 60


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


class UpgServer:
    def __init__(self, *flags, model=MODEL, wait=True, env=None):
        arguments = [COMMAND, "serve", *([str(model)] if model else []), "--port", "0", "-t", "1",
                     "--log-format", "json", *map(str, flags)]
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        env={**os.environ, **(env or {})}, text=True, errors="replace")
        self.lines, self.changed = [], threading.Condition()
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()
        self.port = self.wait_for_event("listening")["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        if wait:
            self.wait_for_event("ready")

    def read_log(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def events(self):
        """The log's lines that are JSON."""
        return [json.loads(line) for line in list(self.lines) if line.startswith("{")]

    def wait_for_event(self, name, seconds=START_SECONDS):
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                for event in self.events():
                    if event.get("event") == name:
                        return event
                left = deadline - time.monotonic()
                assert left > 0 and self.process.poll() is None, "".join(self.lines) or "no log"
                self.changed.wait(min(left, 0.5))

    def request(self, method, path, body=None, headers=None, timeout=60):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method,
                                         headers={"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return Reply(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers, error.read())

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body, **options):
        return self.request("POST", path, body, **options)

    def chat(self, text="Once", **fields):
        return self.post("/v1/chat/completions",
                         {"messages": [{"role": "user", "content": text}], "max_tokens": 8, **fields})

    def complete(self, prompt="Once", **fields):
        return self.post("/v1/completions", {"prompt": prompt, "max_tokens": 8, **fields})

    def stream(self, path, body, headers=None):
        """The socket of a streaming request, its response not read."""
        data = json.dumps({"stream": True, **body}).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json",
                 f"Content-Length: {len(data)}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        return connection

    def slots(self):
        return self.get("/slots").json

    def metrics(self):
        """{'upg:name{labels}': value}"""
        text = self.get("/metrics").body.decode()
        return {name: float(value) for name, value in re.findall(r"^(upg:\S+) (\S+)$", text, re.M)}

    def metric(self, prefix):
        return sum(value for name, value in self.metrics().items()
                   if name == prefix or name.startswith(prefix + "{"))

    def wait_until_idle(self, seconds=10):
        """Seconds until no request is left."""
        begin = time.monotonic()
        while self.slots():
            assert time.monotonic() - begin < seconds, self.slots()
            time.sleep(0.005)
        return time.monotonic() - begin

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, seconds=60):
        """Ends it with SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        finally:
            self.process.kill()
        self.reader.join(10)
        return status
