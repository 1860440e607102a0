#!/usr/bin/env python3
"""Opens files with the `safetensors` package and compares every tensor with a plain read by offsets.

    open_with_safetensors.py FILE ...

What upg writes, UPG files and decompressed checkpoints alike, any safetensors reader must open.
"""
import json
import struct
import sys

from safetensors import safe_open


def check(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    with safe_open(path, framework="np") as opened:
        assert opened.metadata() == metadata, f"{path}: metadata differ"
        assert sorted(opened.keys()) == sorted(header), f"{path}: names differ"
        compared = 0
        for name, entry in header.items():
            assert opened.get_slice(name).get_shape() == entry["shape"], f"{path}: {name}: shape"
            if entry["dtype"] == "BF16":  # numpy has no such type
                continue
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            assert opened.get_tensor(name).tobytes() == data[begin:end], f"{path}: {name}: bytes"
            compared += 1
    print(f"{path}: {len(header)} tensors, {compared} compared")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for argument in sys.argv[1:]:
        check(argument)
