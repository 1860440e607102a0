"""HTTP/1.1 by hand: bytes out, responses in, nothing mended on the way."""

import socket
import time


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def all(self, name):
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name):
        values = self.all(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None

    def __repr__(self):
        return f"Response({self.status}, {self.body[:200]!r})"


class Connection:
    def __init__(self, port, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        """Reads on; False at the end, also at a reset."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        self.buffer += data
        return bool(data)

    def until(self, end):
        while end not in self.buffer:
            assert self.more(), f"the connection ended in {self.buffer[:200]!r}"
        part, self.buffer = self.buffer.split(end, 1)
        return part

    def exactly(self, count):
        while len(self.buffer) < count:
            assert self.more(), f"the connection ended in a body, {len(self.buffer)} of {count} bytes"
        part, self.buffer = self.buffer[:count], self.buffer[count:]
        return part

    def response(self, method="GET"):
        """The next response, its framing checked as RFC 9112 section 6 has it."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, _ = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        headers = [(name.lower(), value.strip()) for name, value in
                   (line.split(":", 1) for line in lines[1:])]
        response = Response(int(status), headers, b"")
        length, coding = response.get("Content-Length"), response.get("Transfer-Encoding")
        assert not (length and coding)
        if response.status < 200 or response.status in (204, 304):
            assert coding is None and (response.status == 304 or length is None)
        elif method == "HEAD":
            pass
        elif coding:
            assert coding == "chunked"
            response.body = self.chunks()
        elif length is not None:
            response.body = self.exactly(int(length))
        else:
            while self.more():
                pass
            response.body, self.buffer = self.buffer, b""
        return response

    def chunks(self):
        body = b""
        while True:
            size = int(self.until(b"\r\n"), 16)
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
            if size == 0:
                return body

    def closed(self, seconds=5):
        """Whether the server ends the connection, sending nothing more."""
        self.socket.settimeout(seconds)
        try:
            while self.more():
                pass
        except TimeoutError:
            return False
        return self.buffer == b""

    def silent(self, seconds=0.3):
        """Whether the server neither sends anything nor ends the connection for a while."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1)
        except TimeoutError:
            return True
        self.buffer += data
        return False

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def dribble(connection, data, seconds=0.002):
    """Byte by byte, as the slowest network would."""
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(len(data)):
        connection.send(data[at:at + 1])
        time.sleep(seconds)
