"""One server for most tests; what it must be after each is checked here."""

import pytest

from upg_server import UpgServer


@pytest.fixture(scope="session")
def shared():
    server = UpgServer("--parallel", 8, "--queue", 64, "--contexts", 6)
    yield server
    assert server.stop() == 0, "".join(server.lines[-5:])


@pytest.fixture
def server(shared):
    """The shared server: alive and idle before and after."""
    yield shared
    assert shared.process.poll() is None, "".join(shared.lines[-5:])
    shared.wait_until_idle()
    assert shared.get("/health").status == 200


@pytest.fixture
def start():
    """start(flags...) -> a server of the test's own."""
    servers = []

    def run(*flags, **options):
        servers.append(UpgServer(*flags, **options))
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


def check_error(reply, status, kind=None, param=None, mentions=None):
    """Every refusal has the same shape, and says what it is about."""
    assert reply.status in (status if isinstance(status, tuple) else (status,)), (reply.status, reply.body)
    assert reply.headers["Content-Type"].startswith("application/json")
    assert set(reply.json) == {"error"}
    error = reply.error
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert "\n" not in error["message"] and len(error["message"]) < 1200
    if kind:
        assert error["type"] == kind
    if param:
        assert error["param"] == param, error
    if mentions:
        assert mentions in error["message"], error
    return error
