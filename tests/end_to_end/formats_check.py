#!/usr/bin/env python3
"""Files that `upg compress` writes, read by others: the independent readers of tests/tools and the
`safetensors` package give what `upg decompress` gives; files by others read right in upg; memory and
size are what the plan promised.

    formats_check.py --build FOLDER
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors import safe_open

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests/tools"), str(ROOT / "tests/oracle")]
import mdcsr_v2  # noqa: E402
import open_with_safetensors  # noqa: E402
import read_upg_v3  # noqa: E402

MIXED = ["--tensor", "*.0.*.qkv_proj=path2", "--tensor", "*.1.*.o_proj=mdcsr",
         "--tensor", "*.2.*.qkv_proj=sparse", "--tensor", "*.3.*.down_proj=f16",
         "--tensor", "lm_head=int8"]
PLAIN = ["--calibrate", "none"]
PROFILES = {"10x": PLAIN, "sparse": ["--sparsity", "0.6", *PLAIN], "8bit": [], "raw": [],
            "mixed": [*MIXED, *PLAIN], "calibrated": ["--calibration-windows", "4"]}


class Check:
    def __init__(self, upg, source, folder):
        self.upg, self.source, self.folder = upg, source, folder

    def run(self, *arguments):
        """The JSON a command prints."""
        done = subprocess.run([self.upg, *map(str, arguments), "--json"], capture_output=True)
        assert done.returncode == 0, f"{arguments}: {done.returncode}, {done.stderr.decode()}"
        return json.loads(done.stdout)

    def compress(self, profile, *flags):
        file = self.folder / f"{profile}.upg"
        name = "10x" if profile in ("mixed", "calibrated") else profile
        arguments = [self.source, "--profile", name, *flags]
        plan = self.run("compress", *arguments, "--dry-run")
        result = self.run("compress", *arguments, "-o", file)
        peak, promised = result["peak_rss_bytes"], plan["peak_ram_bytes"]
        assert peak <= promised, f"{profile}: {peak} bytes of memory, {promised} planned"
        assert result["file_bytes"] == file.stat().st_size
        inspected = self.run("inspect", file)
        assert inspected["file_bytes"] == result["file_bytes"]
        assert abs(inspected["ratio_f32"] - result["ratio_f32"]) < 1e-9
        verified = self.run("verify", file, "--source", self.source)
        assert verified["ok"] and not verified["errors"]
        assert abs(verified["relative_error"] - result["relative_error"]) < 1e-9
        return file, plan, result

    def dense(self, file, *flags):
        folder = file.with_suffix(".dense" + "".join(flags).replace("--", "-"))
        self.run("decompress", file, "-o", folder, *flags)
        open_with_safetensors.check(folder / "model.safetensors")
        return safe_open(folder / "model.safetensors", framework="np")

    def version3(self, profile, flags):
        file, plan, result = self.compress(profile, *flags)
        if profile == "calibrated":  # which matrices get more bits is not known beforehand
            assert abs(plan["output_bytes"] / result["file_bytes"] - 1) < 0.01
        elif "mdcsr" not in " ".join(flags):
            assert plan["output_bytes"] == result["file_bytes"]
        open_with_safetensors.check(file)
        dense = self.dense(file, "--dtype", "f32")
        reader = read_upg_v3.UpgFile(file)
        for name, record in reader.matrices.items():
            ours, theirs = dense.get_tensor(name), reader.matrix(name)
            rotated = "signs" in record.get("params", {})
            limit = 2e-6 * np.abs(theirs).max() if rotated else 0  # their rotation is in float64
            assert ours.shape == theirs.shape and np.abs(ours - theirs).max() <= limit, name

    def raw_is_the_source(self):
        folder = self.folder / "raw-as-it-was"
        self.run("decompress", self.folder / "raw.upg", "-o", folder)
        for name, data in tensor_bytes(self.source / "model.safetensors").items():
            assert tensor_bytes(folder / "model.safetensors")[name] == data, name

    def version2(self):
        file, _, _ = self.compress("mdcsr", "--sparsity", "0.5")
        open_with_safetensors.check(file)
        dense = self.dense(file, "--dtype", "f32")
        matrices = mdcsr_v2.read(file)
        assert len(matrices) == 34
        for name, theirs in matrices.items():
            assert np.array_equal(dense.get_tensor(name), theirs), name
            share = np.mean(theirs == 0)
            assert 0.5 <= share < 0.51, f"{name}: {share} zeros"

    def foreign(self):
        random = np.random.default_rng(1)
        matrices = [random.standard_normal((40, 300)).astype(np.float32),
                    random.standard_normal((7, 2000)).astype(np.float32)]
        matrices[1][np.abs(matrices[1]) < 2.5] = 0  # gaps above 255
        file = self.folder / "foreign.upg"
        mdcsr_v2.write(matrices, file)
        verified = self.run("verify", file)
        assert verified["ok"]
        assert [t["rows"] for t in self.run("inspect", file)["tensors"]] == [40, 7]
        dense = self.dense(file)
        for (name, theirs), original in zip(mdcsr_v2.read(file).items(), matrices):
            ours = dense.get_tensor(name)
            assert np.array_equal(ours, theirs), name
            error = np.abs(ours - original[:, : ours.shape[1]])
            assert (error <= np.abs(original).max(axis=1, keepdims=True) / 253).all(), name


def tensor_bytes(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    start = 8 + length
    return {name: (entry["dtype"], entry["shape"],
                   data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]])
            for name, entry in header.items()}


def find_source():
    places = [ROOT / "models", pathlib.Path(os.environ.get("UPG_TEST_MODELS", "/nowhere")),
              ROOT.parent / "shared" / "models"]
    for place in places:
        if (place / "books-12m" / "config.json").exists():
            return place / "books-12m"
    sys.exit("books-12m is in none of " + ", ".join(map(str, places)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    upg = parser.parse_args().build / "src/cli/upg"
    with tempfile.TemporaryDirectory() as folder:
        check = Check(upg, find_source(), pathlib.Path(folder))
        for profile, flags in PROFILES.items():
            check.version3(profile, flags)
        check.raw_is_the_source()
        check.version2()
        check.foreign()
    print("formats: all files agree")


if __name__ == "__main__":
    main()
