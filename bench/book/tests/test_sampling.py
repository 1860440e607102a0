"""The order and number of samples, comparisons over simulated programs, what is kept on disk."""

import pathlib
import random
import tempfile
import unittest

from book import baselines, history, report, results
from book.__main__ import conclude
from book.program import BenchError, Benchmark, Bound, answer
from book.results import Book, Sample
from book.sampling import Sampler, Settings, Subject, is_settled

MACHINE = {"cpu": "simulated", "threads": 1, "backend": "plain"}


class Neighbours:
    """How much slower the machine is at the moment: both programs see the same."""

    def __init__(self):
        self.random = random.Random(11)
        self.now = 1.4

    def next(self) -> float:
        self.now = min(1.9, max(1.0, self.now + self.random.gauss(0, 0.05)))
        return self.now


class Simulated:
    """A program whose benchmarks take a time that is known, on a machine that others use."""

    def __init__(self, neighbours: Neighbours, factors: dict[str, float], seed: int):
        self.neighbours, self.factors = neighbours, factors
        self.random = random.Random(seed)
        self.starts = 0
        self.asked: list[str] = []

    def start(self) -> None:
        self.starts += 1

    def close(self) -> None:
        pass

    def ask(self, request: str) -> dict:
        return {}

    def run(self, name: str, iterations: int) -> dict:
        self.asked.append(name)
        burst = 1 + (self.random.expovariate(2) if self.random.random() < 0.05 else 0)
        noise = 1 + abs(self.random.gauss(0, 0.04))
        return {"seconds": iterations * 1e-3 * self.factors.get(name, 1.0) * self.neighbours.next() * noise * burst}


NAMES = [f"simulated/{i}" for i in range(40)]


def measured(factors: dict[str, float], settings: Settings, with_baseline: bool = True):
    neighbours = Neighbours()
    new, old = Simulated(neighbours, factors, 1), Simulated(neighbours, {}, 2)
    limit = Benchmark("limit/read/threads:1", {}, 10.0, "bytes")
    rows = [Benchmark(name, {}, 1.0, "weights", [Bound(limit.name, 5.0)], name[:11]) for name in NAMES]
    subjects = [Subject(row, new, old if with_baseline else None) for row in rows]
    limits = {limit.name: Subject(limit, new)}
    Sampler(subjects, limits, settings, lambda line: None).run()
    return new, old, [conclude(each.result(), None, 0.05) for each in [*limits.values(), *subjects]]


class Sampling(unittest.TestCase):
    def test_rounds_visit_everyone_and_start_anew(self):
        new, old, rows = measured({}, Settings(rounds=3, most_rounds=3))
        self.assertEqual((new.starts, old.starts), (3, 3))
        for row in rows[1:]:
            self.assertEqual([sample.round for sample in row.samples], [0, 1, 2])

    def test_programs_take_turns(self):
        _, old, rows = measured({}, Settings(rounds=3, most_rounds=3))
        self.assertEqual(len(old.asked), 3 * 3 * len(NAMES))
        self.assertTrue(all(sample.baseline > 0 for row in rows[1:] for sample in row.samples))

    def test_shares_use_the_limit_of_the_moment(self):
        """An iteration needs half of what the limit does in its millisecond."""
        _, _, rows = measured({}, Settings(rounds=10, most_rounds=10), with_baseline=False)
        for row in rows[1:]:
            self.assertAlmostEqual(row.share.value, 0.5, delta=0.15)

    def test_rounds_end_once_intervals_are_narrow(self):
        _, _, rows = measured({}, Settings(rounds=8, most_rounds=30))
        counts = [len(row.samples) for row in rows[1:]]
        self.assertGreaterEqual(min(counts), 8)
        self.assertLess(min(counts), 30)

    def test_rounds_go_on_while_interval_and_test_disagree(self):
        """One of twelve pairs far on the other side: the interval lies beyond the noise, the test is not yet sure."""
        ratios = [1.16, 1.15, 1.155, 1.165, 1.15, 1.16, 1.155, 1.15, 1.16, 1.165, 1.155, 0.7]
        samples = [Sample(i, 1, ratio, 0.0, 1.0) for i, ratio in enumerate(ratios)]
        self.assertFalse(is_settled(samples, Settings()))
        self.assertTrue(is_settled(samples[:11], Settings()))
        self.assertTrue(is_settled([Sample(i, 1, 1.0, 0.0, 1.0) for i in range(10)], Settings()))

    def test_the_same_build_and_one_kernel_slowed(self):
        slow = set(NAMES[:5])
        _, _, rows = measured({name: 1.15 for name in slow}, Settings())
        verdicts = {row.name: row.comparison.verdict for row in rows[1:]}
        self.assertTrue(all(verdicts[name] == "regressed" for name in slow), verdicts)
        same = [verdicts[name] for name in NAMES if name not in slow]
        self.assertGreaterEqual(same.count("no change") / len(same), 0.95)


class Kept(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        _, _, rows = measured({}, Settings(rounds=3, most_rounds=3))
        self.book = Book(MACHINE, "abc", "2026-01-01T00:00:00", "scripts/bench", False, 1.0, rows, "old")

    def test_a_book_comes_back_as_it_was(self):
        results.save(self.book, self.folder / "book.json")
        self.assertEqual(results.load(self.folder / "book.json"), self.book)

    def test_what_is_no_book_is_refused(self):
        (self.folder / "x.json").write_text("{}")
        with self.assertRaises(BenchError):
            results.load(self.folder / "x.json")

    def test_a_baseline_keeps_the_program(self):
        program = self.folder / "program"
        program.write_text("#!/bin/sh\n")
        baselines.save(self.folder / "all", "main", self.book, program)
        book, kept = baselines.load(self.folder / "all", "main")
        self.assertEqual((book, kept.read_text()), (self.book, "#!/bin/sh\n"))
        with self.assertRaises(BenchError):
            baselines.load(self.folder / "all", "other")

    def test_history_survives_a_line_that_is_cut_off(self):
        path = self.folder / "history.jsonl"
        history.append(self.book, path)
        with open(path, "a") as file:
            file.write('{"commit": "')
        runs = history.load(path)
        self.assertEqual([run["commit"] for run in runs], ["abc"])
        self.assertEqual(set(runs[0]["results"]), set(NAMES))

    def test_plot_over_commits_leaves_out_what_measured_other_things(self):
        run = history.summary(self.book)
        other = {**run, "commit": "elsewhere", "results": {"model/x/tg128": {"share": 0.5}}}
        shown = report.report_files(self.book, [run, other, {**run, "commit": "def"}])["book.html"]
        self.assertIn("abc, 01-01", shown)
        self.assertIn("def, 01-01", shown)
        self.assertNotIn("elsewhere", shown)
        self.assertNotIn("Over commits", report.report_files(self.book, [run, other])["book.html"])

    def test_report_shows_the_comparison(self):
        files = report.report_files(self.book, [])
        self.assertIn("Against the baseline", files["book.html"])
        self.assertIn("| simulated/0 | no change |", files["book.md"])


class Protocol(unittest.TestCase):
    def test_answers(self):
        row = Benchmark("python/x", {}, 1.0, "weights", [Bound("limit/a", 2.0)])
        table = {row.name: (row, lambda iterations: 0.5 * iterations)}
        listed = answer(["list"], {"cpu": "c"}, table)
        self.assertEqual(listed["benchmarks"][0]["bounds"], [{"limit": "limit/a", "amount": 2.0}])
        self.assertEqual(answer(["run", "4", "python/x\n"], {}, table), {"seconds": 2.0, "iterations": 4})
        self.assertEqual(answer(["forget"], {}, table), {})
        for wrong in (["run", "0x", "python/x"], ["run", "1", "other"], ["stop"]):
            self.assertIn("error", answer(wrong, {}, table))


if __name__ == "__main__":
    unittest.main()
