#!/usr/bin/env python3
"""What calibration and bits are worth, on the bundled checkpoint with text it was not calibrated on: the ranking of the
ways to compress must hold, and calibrated files must lose much less than the same without.

    quality_check.py --build FOLDER
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "models/books-12m"
WHOLE = ["--tensor", "model.embed_tokens=raw", "--tensor", "lm_head=raw"]  # so that only layers differ
WINDOWS = 8  # of calibration
EVALUATED = 4


def run(upg, *arguments):
    done = subprocess.run([upg, *map(str, arguments), "--json"], capture_output=True)
    assert done.returncode == 0, f"{arguments}: {done.returncode}, {done.stderr.decode()}"
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    upg = parser.parse_args().build / "src/cli/upg"
    text = (ROOT / "data/calibration.txt").read_bytes().decode()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        cut = text.index("\n", len(text) * 3 // 4)
        (folder / "calibration.txt").write_text(text[:cut])
        (folder / "heldout.txt").write_text(text[cut:])
        calibrated = ["--calibrate", folder / "calibration.txt", "--calibration-windows", WINDOWS]

        def kl(name, *flags):
            file = folder / f"{name}.upg"
            run(upg, "compress", SOURCE, "-o", file, *flags)
            measured = run(upg, "eval", file, "--source", SOURCE, "--text", folder / "heldout.txt",
                           "--windows", EVALUATED)
            print(f"  {name:<16} KL {measured['kl']:.4f}", flush=True)
            return measured["kl"]

        none = kl("path3, plain", *WHOLE, "--calibrate", "none")
        path3 = kl("path3", *WHOLE, *calibrated, "--tensor", "*_proj=path3")
        path4 = kl("path4", *WHOLE, *calibrated, "--tensor", "*_proj=path4")
        spent = kl("bits spent", *WHOLE, *calibrated)
        sparse_none = kl("sparse, plain", *WHOLE, "--calibrate", "none", "--profile", "sparse")
        sparse = kl("sparse", *WHOLE, *calibrated, "--profile", "sparse")
    assert path4 < spent < path3 < none, "the ranking of the path codecs"
    assert path3 < 0.7 * none, "what calibration is worth for path3"
    assert path4 < 0.4 * path3, "what a fourth bit is worth"
    assert path3 < sparse < 0.7 * sparse_none, "where sparse stands, and what calibration is worth for it"
    print("quality: the ranking holds")


if __name__ == "__main__":
    main()
