#!/usr/bin/env python3
"""What upg does when its output has nowhere to go: whoever reads it left (`upg ... | head -3`), which ends
it without a word and with the status of a process killed by SIGPIPE; or the disk is full, which it says.

    closed_output_check.py --build FOLDER
"""
import argparse
import os
import pathlib
import signal
import subprocess

from formats_check import find_source

CLOSED_PIPE_STATUS = 128 + signal.SIGPIPE


def run_with_closed_pipe(command):
    """Its status and stderr when nobody reads its stdout."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, timeout=120)
    os.close(write_end)
    return done.returncode, done.stderr.decode()


def run_with_full_disk(command):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=120)
    return done.returncode, done.stderr.decode()


def first_bytes(command, count):
    """The reader takes `count` bytes and leaves."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        text = process.stdout.read(count)
        process.stdout.close()
        message = process.stderr.read().decode()
    return text, process.returncode, message


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    upg = parser.parse_args().build / "src/cli/upg"
    model = find_source()
    commands = [[upg, "inspect", model], [upg, "inspect", model, "--json"],
                [upg, "tokenize", model, "-p", "It was a dark night"],
                [upg, "run", model, "-p", "It was", "-q", "-n", "4"]]
    for command in commands:
        assert run_with_closed_pipe(command) == (CLOSED_PIPE_STATUS, ""), command
        status, message = run_with_full_disk(command)
        assert status == 1 and "standard output: cannot write: No space left" in message, message
    endless = [upg, "run", model, "-p", "It was", "-q", "-n", "-1", "--ignore-eos", "--temp", "0"]
    text, status, message = first_bytes(endless, 5)
    assert len(text) == 5 and (status, message) == (CLOSED_PIPE_STATUS, ""), (text, status, message)
    print("closed output: quiet for a closed pipe, a message for a full disk")


if __name__ == "__main__":
    main()
