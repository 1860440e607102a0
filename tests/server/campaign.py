"""Longer runs against a server of their own: `cancel`, `soak`, `slow`. Exit 1 when a bound is broken."""

import argparse
import collections
import json
import random
import re
import socket
import sys
import threading
import time

from raw_http import Connection
from upg_server import UpgServer

ABUSE = [b"", b"[]", b'{"messages":5}', b"[" * 5000, b'{"prompt":"a","temperature":NaN}', b"\xff", b'{"n":-1}']


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def anonymous_bytes(server):
    """Anonymous memory, swapped out or not: what leaks are made of."""
    text = open(f"/proc/{server.process.pid}/status").read()
    return sum(int(re.search(rf"{name}:\s+(\d+) kB", text).group(1)) * 1024 for name in ("RssAnon", "VmSwap"))


def counters(server):
    came = server.metric("upg:requests_total")
    done = server.metric("upg:request_success_total") + server.metric("upg:request_failure_total")
    return came, done


def random_request(rng):
    words = " ".join(rng.choice(["sea", "sky", "land", "ship", "storm"]) for _ in range(rng.randrange(1, 200)))
    body = {"max_tokens": rng.randrange(1, 60), "stream": rng.random() < 0.5, "n": rng.choice([1, 1, 1, 2]),
            "seed": rng.randrange(1 << 30), "ignore_eos": rng.random() < 0.5}
    if rng.random() < 0.5:
        return "/v1/completions", {**body, "prompt": words}
    return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": words}]}


def leave(server, rng):
    """A request whose client goes away at a moment of its own."""
    connection = server.stream(*random_request(rng))
    if rng.random() < 0.3:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    time.sleep(rng.random() ** 2 * 0.2)
    connection.close()


def in_threads(count, work):
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def check(name, value, bound, failures):
    good = value <= bound
    print(f"{'ok  ' if good else 'FAIL'} {name}: {value:.4g}, at most {bound:.4g}")
    if not good:
        failures.append(name)


def check_at_rest(server, before, failures):
    server.wait_until_idle(30)
    came, done = counters(server)
    # Asking for the counters took connections too, which the server may still be closing.
    deadline = time.monotonic() + 10
    while server.descriptors() > before[0] and time.monotonic() < deadline:
        time.sleep(0.1)
    check("requests that neither ended nor failed", came - done, 0, failures)
    check("descriptors left over", server.descriptors() - before[0], 0, failures)
    check("threads left over", server.threads() - before[1], 0, failures)
    return came


def cancel(options, failures):
    server = UpgServer("--parallel", 16)
    server.complete()
    before = server.descriptors(), server.threads()
    freed = []
    for i in range(200):
        connection = server.stream("/v1/completions", {
            "prompt": f"{i} " + "word " * (i % 3 * 300), "max_tokens": 900, "ignore_eos": True})
        while not server.slots():
            time.sleep(0.001)
        time.sleep(i % 10 * 0.01)
        connection.close()
        freed.append(server.wait_until_idle())
    print(f"a slot is free after: p50 {percentile(freed, 0.5) * 1e3:.0f} ms")
    check("p99 of that, seconds", percentile(freed, 0.99), 0.25, failures)

    def work(index):
        rng = random.Random(index)
        for _ in range(options.count // 8):
            leave(server, rng)

    in_threads(8, work)
    print(f"requests: {check_at_rest(server, before, failures):.0f}")
    check("exit status", server.stop(), 0, failures)


def soak(options, failures):
    server = UpgServer("--parallel", 16, "--queue", 64)
    server.complete()
    before = server.descriptors(), server.threads()
    end = time.monotonic() + 60 * options.minutes
    statuses = collections.Counter()

    def work(index):
        rng = random.Random(index)
        while time.monotonic() < end:
            kind = rng.random()
            if kind < 0.10:
                leave(server, rng)
            elif kind < 0.15:
                statuses[server.post("/v1/chat/completions", rng.choice(ABUSE)).status] += 1
            else:
                statuses[server.post(*random_request(rng)).status] += 1

    memory = []

    def watch():
        while time.monotonic() < end:
            memory.append((time.monotonic(), anonymous_bytes(server), server.metric("upg:requests_total")))
            time.sleep(2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    in_threads(12, work)
    watcher.join()
    came = check_at_rest(server, before, failures)
    warm = memory[len(memory) // 4:]
    half = len(warm) // 2
    early = percentile([sample[1] for sample in warm[:half]], 0.5)
    late = percentile([sample[1] for sample in warm[half:]], 0.5)
    print(f"requests: {came:.0f}, statuses: {dict(statuses)}, memory: {early / 1e6:.1f} -> {late / 1e6:.1f} MB")
    check("growth after the warm-up", late / early - 1, 0.01, failures)
    check("answers that should not be", sum(n for status, n in statuses.items() if status not in (200, 400, 429)), 0,
          failures)
    check("exit status", server.stop(), 0, failures)


def canary(server, seconds):
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        assert server.get("/health").status == 200
        times.append(time.perf_counter() - begin)
        time.sleep(0.005)
    return percentile(times, 0.99)


def slow(options, failures):
    server = UpgServer()
    quiet = canary(server, 10)
    memory = anonymous_bytes(server)
    idle = [Connection(server.port) for _ in range(1000)]
    slow_ones = [Connection(server.port) for _ in range(500)]
    for connection in slow_ones:
        connection.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
    stop = threading.Event()

    def dribble():
        while not stop.wait(1):
            for connection in slow_ones:
                try:
                    connection.send(b"a")
                except OSError:
                    pass

    thread = threading.Thread(target=dribble)
    thread.start()
    busy = canary(server, 8)
    each = (anonymous_bytes(server) - memory) / 1500
    stop.set()
    thread.join()
    print(f"canary p99: quiet {quiet * 1e3:.2f} ms, with 1,000 idle and 500 slow connections {busy * 1e3:.2f} ms")
    check("of it the quiet one, times", busy / quiet, 2, failures)
    check("bytes a connection", each, 32768, failures)
    time.sleep(8)
    refused = 0
    for connection in slow_ones:
        connection.socket.settimeout(2)
        refused += connection.more() and b" 408 " in connection.buffer
    check("slow connections not ended by 408", 500 - refused, 0, failures)
    for connection in idle + slow_ones:
        connection.close()
    check("exit status", server.stop(), 0, failures)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["cancel", "soak", "slow"])
    parser.add_argument("--count", type=int, default=100000, help="cancel: requests that are left")
    parser.add_argument("--minutes", type=float, default=30, help="soak: how long")
    options = parser.parse_args()
    failures = []
    {"cancel": cancel, "soak": soak, "slow": slow}[options.which](options, failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
