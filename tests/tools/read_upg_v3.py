#!/usr/bin/env python3
"""Decodes the matrices of a version 3 UPG file: an independent reader, from docs/format.md alone.
    read_upg_v3.py FILE.upg [NAME ...] [-o OUT.npz]

Prints name, shape, codec, root mean square of each matrix (or of those named); -o stores them all.
"""
import argparse
import json

import numpy as np

DTYPES = {"U8": "u1", "I8": "i1", "U16": "<u2", "F16": "<f2", "BF16": "<u2", "U32": "<u4",
          "F32": "<f4"}


sieve = np.ones(104_730, bool)
for i in range(2, 324):
    sieve[i * i :: i] = False
PRIMES = np.flatnonzero(sieve)[2:]
LEVELS = (2 * 63 * PRIMES + 104729) // (2 * 104729)
assert len(PRIMES) == 10_000 and PRIMES[-1] == 104729


class UpgFile:
    def __init__(self, path):
        self.bytes = np.memmap(path, np.uint8, "r")
        length = int(self.bytes[:8].view("<u8")[0])
        self.header = json.loads(self.bytes[8 : 8 + length].tobytes())
        metadata = self.header.pop("__metadata__")
        assert metadata["format"] == "upg" and metadata["version"].startswith("3.")
        self.data = 8 + length
        self.matrices = json.loads(metadata["matrices"])

    def tensor(self, name):
        entry = self.header[name]
        begin, end = (self.data + offset for offset in entry["data_offsets"])
        array = self.bytes[begin:end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array

    def matrix(self, name):
        record = self.matrices[name]
        stem = record.get("stem", name)
        part = lambda suffix: self.tensor(f"{stem}.{suffix}" if suffix else stem)
        weights = DECODERS[record["codec"]](part, record["rows"], record["cols"])
        signs = record.get("params", {}).get("signs")
        if signs:
            weights = unrotate(weights, self.tensor(signs))
        return weights[:, : record["cols"]]


def levels(entries):
    level = LEVELS[entries & 0x3FFF]
    return np.where(entries & 0x8000, -level, level)


def vectors(codes, rows, count):
    """[groups, blocks, ...] bytes -> [rows, blocks, count, 16]."""
    groups, blocks = codes.shape[:2]
    codes = codes.reshape(groups, blocks, count, 4, 16).transpose(0, 3, 1, 2, 4)
    return codes.reshape(-1, blocks, count, 16)[:rows]


def unpack_path(v, bits):
    """[rows, blocks, bits, 16] -> codes [rows, blocks, 128]."""
    if bits == 2:
        parts = [v[:, :, j // 4] >> (2 * (j % 4)) & 3 for j in range(8)]
    elif bits == 4:
        parts = [v[:, :, j // 2] >> (4 * (j % 2)) & 15 for j in range(8)]
    else:
        parts = [v[:, :, j // 2] >> (4 * (j % 2)) & 7 for j in range(6)]
        for shift in (3, 7):
            parts.append(sum((v[:, :, k] >> shift & 1) << k for k in range(3)))
    return np.concatenate(parts, axis=2)


BEFORE = np.array([c - 32 if c >= 32 else c + (92 if c % 16 >= 4 else 108) for c in range(128)])


def decode_path(bits):
    def decode(part, rows, cols):
        codes = unpack_path(vectors(part("codes"), rows, bits), bits)
        a, b = levels(part("palette"))
        sums = (a[codes] + b[codes[:, :, BEFORE]]).reshape(rows, -1)
        return part("scale")[:, None] * (sums.astype(np.float32) / np.float32(63))

    return decode


def decode_int8(part, rows, cols):
    codes = vectors(part("codes"), rows, 8).reshape(rows, -1)
    return part("scale")[:, None] * (codes.astype(np.float32) / np.float32(127))


def decode_sparse(part, rows, cols):
    mask = np.unpackbits(part("mask"), axis=2, bitorder="little").reshape(-1, 128 * -(-cols // 128))
    nibbles = np.stack([part("codes") & 15, part("codes") >> 4], axis=1).reshape(-1)
    palette = levels(part("palette"))[0].astype(np.float32) / np.float32(63)
    weights = np.zeros(mask.shape, np.float32)
    for group, offset in enumerate(part("offsets")[:-1]):
        rows4 = slice(4 * group, 4 * group + 4)
        where = np.flatnonzero(mask[rows4])
        weights[rows4].reshape(-1)[where] = palette[nibbles[2 * offset : 2 * offset + len(where)]]
    return part("scale")[:, None] * weights[:rows]


def decode_mdcsr(part, rows, cols):
    weights = np.zeros((rows, cols), np.float32)
    pointers = part("row_pointers")
    shares = part("values").astype(np.float32) / np.float32(127)
    primes = (PRIMES / 104729).astype(np.float32)[part("prime_indices")]
    for r in range(rows):
        row = slice(pointers[r], pointers[r + 1])
        columns = np.cumsum(part("delta_indices")[row], dtype=np.int64)
        weights[r, columns] = part("scales")[r] * shares[row] * primes[row]
    return weights


DECODERS = {"path2": decode_path(2), "path3": decode_path(3), "path4": decode_path(4),
            "int8": decode_int8, "sparse": decode_sparse, "mdcsr": decode_mdcsr,
            "raw": lambda part, rows, cols: part("").astype(np.float32)}


def unrotate(weights, signs):
    hadamard = np.array([[(-1.0) ** bin(i & j).count("1") for j in range(128)] for i in range(128)])
    flips = np.where(np.unpackbits(signs, bitorder="little"), -1.0, 1.0)
    blocks = weights.reshape(-1, 128).astype(np.float64) @ hadamard / np.sqrt(128)
    return (blocks.reshape(weights.shape) * flips).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("names", nargs="*")
    parser.add_argument("-o", "--output")
    options = parser.parse_args()
    upg = UpgFile(options.file)
    decoded = {}
    for name in options.names or upg.matrices:
        weights = upg.matrix(name)
        rms = np.sqrt((weights**2).mean())
        print(name, weights.shape, upg.matrices[name]["codec"], f"rms {rms:.6g}")
        decoded[name] = weights
    if options.output: np.savez(options.output, **decoded)


if __name__ == "__main__":
    main()
