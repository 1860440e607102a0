"""On the CPU a text is the same whatever else the server writes: products add in one order, however many come at once."""

import subprocess
import threading

import pytest

from upg_server import COMMAND, MODEL, ROOT, UpgServer

TEXT = (ROOT / "data/calibration.txt").read_text()
# Short ones and such as are read in several parts.
PROMPTS = [TEXT[4000 * i:4000 * i + 20 + 130 * i] for i in range(12)]


@pytest.fixture(scope="module", params=["uncompressed", "10x"])
def model(request, tmp_path_factory):
    if request.param == "uncompressed":
        return MODEL
    path = tmp_path_factory.mktemp("model") / "books-12m.upg"
    subprocess.run([COMMAND, "compress", MODEL, "-o", path, "--calibrate", "none"], check=True, capture_output=True)
    return path


def write(server, prompt, texts):
    texts[prompt] = server.complete(prompt, max_tokens=80, temperature=0, ignore_eos=True).json["choices"][0]["text"]


def test_alone_and_beside_others(model):
    alone, together = {}, {}
    server = UpgServer("--parallel", 1, model=model)
    for prompt in PROMPTS:
        write(server, prompt, alone)
    assert server.stop() == 0
    # Another server, which has no prefix of theirs in its cache.
    server = UpgServer("--parallel", 12, model=model)
    threads = [threading.Thread(target=write, args=(server, prompt, together)) for prompt in PROMPTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.stop() == 0
    assert together == alone
