"""The benchmark book: takes samples, judges them, writes them down. docs/benchmarks.md says how."""
