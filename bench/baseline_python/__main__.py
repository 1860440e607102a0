"""The product of the first reports in Python: plain loops over the arrays of an MdCSR matrix, and what NumPy and SciPy
make of the same matrix. Speaks to bench/book (its program.py) when told to; alone it prints times.

    python bench/baseline_python [--side 5120] --print
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Callable
from functools import cached_property

import numpy as np
from scipy import sparse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from baseline_python.mdcsr import TABLE, Matrix, as_lists, loops, numpy_product, random_matrix, to_csr  # noqa: E402
from book.program import Benchmark, Bound, serve  # noqa: E402


def timed(prepare: Callable[[], object], body: Callable[[], object]) -> Callable[[int], float]:
    def run(iterations: int) -> float:
        prepare()
        begin = time.perf_counter()
        for _ in range(iterations):
            body()
        return time.perf_counter() - begin

    return run


class Products:
    """One random matrix in its forms, each made when it is first needed."""

    def __init__(self, side: int):
        self.side = side
        self.x = np.random.default_rng(1).standard_normal(side, dtype=np.float32)

    @cached_property
    def matrix(self) -> Matrix:
        return random_matrix(self.side)

    @cached_property
    def lists(self) -> Matrix:
        return as_lists(self.matrix)

    @cached_property
    def csr(self) -> sparse.csr_array:
        return to_csr(self.matrix)

    def loops(self) -> object:
        return loops(self.lists, self.x_list, self.table)

    @cached_property
    def x_list(self) -> list[float]:
        return self.x.tolist()

    @cached_property
    def table(self) -> list[float]:
        return TABLE.tolist()

    def numpy(self) -> object:
        return numpy_product(self.matrix, self.x)

    def scipy(self) -> object:
        return self.csr @ self.x

    def benchmarks(self) -> dict[str, tuple[Benchmark, Callable[[int], float]]]:
        table = {}
        # Stored bytes a weight: MdCSR has 1 + 1 + 2, SciPy's CSR a float and a column number.
        kinds = (("loops", lambda: self.lists, self.loops, 4), ("numpy", lambda: self.matrix, self.numpy, 4),
                 ("scipy_csr", lambda: self.csr, self.scipy, 8))
        for kind, prepare, body, bytes_each in kinds:
            name = f"python/{kind}/{self.side}x{self.side}"
            weights = self.side * self.side / 2
            row = Benchmark(name, {"threads": "1", "codec": "mdcsr"}, weights, "weights",
                            [Bound("limit/read/threads:1", weights * bytes_each)], "python")
            table[name] = row, timed(prepare, body)
        return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=5120)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--print", action="store_true", dest="alone")
    options = parser.parse_args()
    products = Products(128 if options.tiny else options.side)
    if not options.alone:
        return serve({}, products.benchmarks())
    for name, (_, run) in products.benchmarks().items():
        print(f"{name}: {1e3 * min(run(1) for _ in range(3)):.1f} ms")


main()
