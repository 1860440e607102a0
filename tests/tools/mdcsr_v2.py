#!/usr/bin/env python3
"""Format version 2 by hand, from docs/format.md section 6: an independent reader and writer.

    mdcsr_v2.py write MATRICES.npz FILE.upg     arrays of the .npz become layer_0, layer_1, ...
    mdcsr_v2.py read FILE.upg OUT.npz           (columns: the file's own records, else the largest)

Needs numpy. The writer uses prime 104729 (index 9999, value 1) for every weight: 8-bit values alone.
"""
import json
import struct
import sys

import numpy as np

TYPES = {"I8": "i1", "U8": "u1", "U32": "<u4", "U16": "<u2", "F32": "<f4"}


sieve = np.ones(104_730, bool)
for i in range(2, 324):
    sieve[i * i :: i] = False
VALUES = (np.flatnonzero(sieve)[2:] / 104729).astype(np.float32)


def read(path):
    data = np.fromfile(path, np.uint8)
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    header = json.loads(data[8 : 8 + length].tobytes())
    metadata = header.pop("__metadata__")
    assert metadata["version"].startswith("2.")

    def tensor(name):
        begin, end = header[name]["data_offsets"]
        return data[8 + length + begin : 8 + length + end].copy().view(TYPES[header[name]["dtype"]])

    records = json.loads(metadata.get("matrices", "{}"))
    known = {r["stem"]: (name, r["cols"]) for name, r in records.items() if "stem" in r}
    matrices = {}
    for i in range(int(metadata["num_layers"])):
        stem = f"layer_{i}"
        pointers = tensor(stem + "_row_pointers").astype(np.int64)
        deltas, scales = tensor(stem + "_delta_indices"), tensor(stem + "_scales")
        share = tensor(stem + "_values").astype(np.float32) / np.float32(127)
        prime = VALUES[tensor(stem + "_prime_indices")]
        places = [np.cumsum(deltas[a:b], dtype=np.int64) for a, b in zip(pointers, pointers[1:])]
        largest = max([int(place[-1]) for place in places if len(place)], default=0)
        name, cols = known.get(stem, (stem, largest + 1))
        matrix = np.zeros((len(scales), cols), np.float32)
        for r, place in enumerate(places):
            row = slice(pointers[r], pointers[r + 1])
            matrix[r, place] = scales[r] * share[row] * prime[row]
        matrices[name] = matrix
    return matrices


def encode_row(row):
    scale = np.abs(row).max()
    values = np.rint(row / scale * 127).astype(np.int8) if scale > 0 else np.zeros(len(row), np.int8)
    out, previous = [], 0
    for column in np.flatnonzero(values):
        while column - previous > 255:  # a gap too wide for one byte
            previous += 255
            out.append((0, 255))
        out.append((values[column], column - previous))
        previous = column
    return scale, out


def write(matrices, path):
    header, chunks, at = {}, [], 0
    stored = sum(m.size for m in matrices)

    def add(name, dtype, array):
        nonlocal at
        chunk = np.asarray(array).astype(TYPES[dtype]).tobytes()
        shape = [len(array)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(chunk)]}
        chunks.append(chunk)
        at += len(chunk)

    for i, matrix in enumerate(matrices):
        rows = [encode_row(row) for row in matrix]
        entries = [entry for _, row in rows for entry in row]
        add(f"layer_{i}_values", "I8", [value for value, _ in entries])
        add(f"layer_{i}_delta_indices", "U8", [delta for _, delta in entries])
        add(f"layer_{i}_row_pointers", "U32", np.cumsum([0] + [len(row) for _, row in rows]))
        add(f"layer_{i}_prime_indices", "U16", [9999] * len(entries))
        add(f"layer_{i}_scales", "F32", [scale for scale, _ in rows])
    header["__metadata__"] = {"version": "2.0", "model": "by hand", "num_layers": str(len(matrices)),
                              "compression_ratio": f"{4 * stored / max(at, 1):.3f}"}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "write":
        arrays = np.load(sys.argv[2])
        write([arrays[name].astype(np.float32) for name in arrays.files], sys.argv[3])
    elif len(sys.argv) == 4 and sys.argv[1] == "read":
        np.savez(sys.argv[3], **read(sys.argv[2]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
