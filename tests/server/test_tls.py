"""TLS: requests and streams over it, and what clients get who speak something else."""

import json
import socket
import ssl
import subprocess

import pytest

from upg_server import COMMAND, MODEL, UpgServer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def server(certificate):
    server = UpgServer("--ssl-cert-file", certificate[0], "--ssl-key-file", certificate[1])
    yield server
    assert server.stop() == 0


def connect(server, certificate, **versions):
    context = ssl.create_default_context(cafile=str(certificate[0]))
    for name, version in versions.items():
        setattr(context, name, version)
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    return context.wrap_socket(plain, server_hostname="localhost")


def ask(connection, method, path, body=None):
    data = json.dumps(body).encode() if body else b""
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
    answer = b""
    while part := connection.recv(65536):
        answer += part
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), rest.decode()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_and_streams(server, certificate, version):
    versions = dict(minimum_version=version, maximum_version=version)
    status, _, body = ask(connect(server, certificate, **versions), "GET", "/health")
    assert (status, json.loads(body)) == (200, {"status": "ok"})
    fields = {"prompt": "Once upon a time", "max_tokens": 40, "temperature": 0}
    status, _, body = ask(connect(server, certificate, **versions), "POST", "/v1/completions", fields)
    text = json.loads(body)["choices"][0]["text"]
    assert status == 200
    status, head, body = ask(connect(server, certificate, **versions), "POST", "/v1/completions",
                             {**fields, "stream": True})
    events = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
    assert "text/event-stream" in head and events.pop() == "[DONE]"
    assert "".join(json.loads(event)["choices"][0]["text"] for event in events) == text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_version_is_refused(server, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), timeout=30))
    assert ask(connect(server, certificate), "GET", "/health")[0] == 200


@pytest.mark.parametrize("bytes_sent", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 300,
                                        b"\0", b""])
def test_who_speaks_no_tls_is_let_go(server, certificate, bytes_sent):
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    plain.sendall(bytes_sent)
    plain.shutdown(socket.SHUT_WR)
    try:
        assert b"200 OK" not in plain.recv(65536)
    except ConnectionResetError:
        pass
    assert ask(connect(server, certificate), "GET", "/health")[0] == 200


def test_a_client_that_leaves_in_the_middle(server, certificate):
    connection = connect(server, certificate)
    body = json.dumps({"prompt": "Once", "max_tokens": 900, "stream": True, "ignore_eos": True}).encode()
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert connection.recv(100)
    connection.close()
    # Slots are asked for over TLS too.
    for _ in range(200):
        if json.loads(ask(connect(server, certificate), "GET", "/slots")[2]) == []:
            return
    pytest.fail("its slot is still taken")


def test_a_certificate_of_another_key_is_named(certificate, tmp_path):
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "genrsa", "-out", other, "2048"], check=True, capture_output=True)
    done = subprocess.run([COMMAND, "serve", MODEL, "--check", "--port", "0", "--ssl-cert-file", certificate[0],
                           "--ssl-key-file", other], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and str(other) in done.stderr
