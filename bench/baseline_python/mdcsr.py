"""An MdCSR matrix and its product with a vector, as the first reports describe them.

    weight = scale[row] * (value / 127) * (prime / 104729), at the column that the row's deltas add up to
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

PRIMES = 10_000
LARGEST_PRIME = 104_729


@dataclass
class Matrix:
    values: np.ndarray  # int8 [nonzeros]
    deltas: np.ndarray  # uint8 [nonzeros]: a row's first is its first column, the others are differences
    primes: np.ndarray  # uint16 [nonzeros]: indices into prime_table()
    row_pointers: np.ndarray  # uint32 [rows + 1]
    scales: np.ndarray  # float32 [rows]


def prime_table() -> np.ndarray:
    sieve = np.ones(LARGEST_PRIME + 1, bool)
    sieve[:2] = False
    for number in range(2, int(LARGEST_PRIME**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = False
    return np.flatnonzero(sieve).astype(np.uint32)


def random_matrix(side: int) -> Matrix:
    """Square, every second weight zero on average."""
    random = np.random.default_rng(2)
    each = side // 2
    deltas = np.empty((side, each), np.uint8)
    deltas[:, 1::2] = random.integers(1, 4, (side, each // 2))
    deltas[:, 2::2] = 4 - deltas[:, 1:-1:2]
    deltas[:, 0] = 0
    return Matrix(
        values=random.integers(-127, 128, side * each).astype(np.int8),
        deltas=deltas.ravel(),
        primes=random.integers(0, PRIMES, side * each).astype(np.uint16),
        row_pointers=(np.arange(side + 1) * each).astype(np.uint32),
        scales=np.full(side, 0.02, np.float32),
    )


TABLE = prime_table().astype(np.float32) / np.float32(LARGEST_PRIME)


def as_lists(matrix: Matrix) -> Matrix:
    """The same with lists, which plain Python reads faster than arrays."""
    return Matrix(**{name: array.tolist() for name, array in vars(matrix).items()})


def loops(matrix: Matrix, x: list[float], table: list[float]) -> list[float]:
    """Every weight in a Python loop; all arguments are lists."""
    y = []
    for row, scale in enumerate(matrix.scales):
        total, column = 0.0, 0
        for k in range(matrix.row_pointers[row], matrix.row_pointers[row + 1]):
            column += matrix.deltas[k]
            total += scale * (matrix.values[k] / 127) * table[matrix.primes[k]] * x[column]
        y.append(total)
    return y


def columns(matrix: Matrix) -> np.ndarray:
    """Column of each entry: running sums of the deltas that begin anew in every row."""
    sums = np.cumsum(matrix.deltas, dtype=np.int64)
    starts = matrix.row_pointers[:-1]
    before = sums[starts] - matrix.deltas[starts]
    return sums - np.repeat(before, np.diff(matrix.row_pointers))


def weights(matrix: Matrix) -> np.ndarray:
    scales = np.repeat(matrix.scales, np.diff(matrix.row_pointers))
    return scales * (matrix.values.astype(np.float32) / np.float32(127)) * TABLE[matrix.primes]


def numpy_product(matrix: Matrix, x: np.ndarray) -> np.ndarray:
    """From the stored arrays each time, as the compressed product must."""
    return np.add.reduceat(weights(matrix) * x[columns(matrix)], matrix.row_pointers[:-1])


def to_csr(matrix: Matrix) -> sparse.csr_array:
    side = len(matrix.scales)
    return sparse.csr_array((weights(matrix), columns(matrix).astype(np.int32), matrix.row_pointers.astype(np.int32)),
                            shape=(side, side))
