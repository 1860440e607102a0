#!/usr/bin/env python3
"""A calibrated compression that is killed at random moments and goes on with --resume ends in the same bytes as
one that nothing stopped.

    resume_check.py --build FOLDER [--source CHECKPOINT] [--windows N] [--kills N] [--seed N]
"""
import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from formats_check import find_source

CODECS = ["--tensor", "*.layers.*=path3"]  # chosen beforehand: what is tested is what comes after


class Check:
    def __init__(self, upg, source, folder, windows):
        self.folder, self.output = folder, folder / "out.upg"
        self.journal = folder / "out.upg.journal"
        self.command = [upg, "compress", source, *CODECS, "--calibrate", "default",
                        "--calibration-windows", str(windows), "--json"]

    def start(self, output, *flags):
        return subprocess.Popen([*map(str, self.command), "-o", str(output), *map(str, flags)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, output, *flags, status=0):
        process = self.start(output, *flags)
        out, err = process.communicate()
        assert process.returncode == status, f"{flags}: {process.returncode}, {err.decode()}"
        return json.loads(out) if status == 0 else err.decode()

    def finished(self):
        return len(list(self.journal.glob("*.matrix")))

    def wait_for(self, process, matrices, delay):
        """Until so many matrices are finished, and that many seconds more."""
        while self.finished() < matrices and process.poll() is None:
            time.sleep(0.02)
        time.sleep(delay)

    def kill(self, process, how, matrices, delay):
        self.wait_for(process, matrices, delay)
        assert process.poll() is None, "it ended before it could be killed: " + str(process.communicate())
        process.send_signal(how)
        out, err = process.communicate()
        assert not self.output.exists()
        return process.returncode, err.decode()

    def kills(self, count, seed, longest):
        draw = random.Random(seed)
        for number in range(count):
            before = self.finished()
            process = self.start(self.output, "--resume", "--threads", 1 + number % 2)
            # Every other time before anything new is done, if it comes to that.
            self.kill(process, signal.SIGKILL, before + draw.randrange(2), draw.uniform(0, longest))
            assert self.finished() >= before

    def refusals(self):
        kept = self.finished()
        assert kept > 0
        message = self.run(self.output, status=2)
        assert "--resume" in message and "--force" in message, message
        message = self.run(self.output, "--resume", "--tensor", "*.0.*=path2", status=2)
        assert "tensor_codecs" in message and "path2" in message, message
        process = self.start(self.output, "--resume")
        status, message = self.kill(process, signal.SIGINT, kept + 1, 0)
        assert status == 130 and "--resume" in message, f"{status}: {message}"
        assert self.finished() > kept

    def same_bytes(self, whole):
        kept = self.finished()
        result = self.run(self.output, "--resume")
        assert result["resumed_matrices"] == kept, result
        assert self.output.read_bytes() == whole.read_bytes(), "other bytes after going on"
        left = sorted(path.name for path in self.folder.iterdir())
        assert left == ["out.upg", "whole.upg"], left


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--source", type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    upg = options.build / "src/cli/upg"
    with tempfile.TemporaryDirectory() as folder:
        check = Check(upg, options.source or find_source(), pathlib.Path(folder), options.windows)
        whole = check.folder / "whole.upg"
        seconds = check.run(whole)["seconds"]
        check.kills(options.kills, options.seed, 0.08 * seconds)
        check.refusals()
        check.same_bytes(whole)
    print(f"resume: killed {options.kills} times, the same bytes")


if __name__ == "__main__":
    sys.exit(main())
