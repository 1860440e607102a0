"""scripts/bench as a command: its options, what a run leaves behind, rows of another machine."""

import argparse
import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

from book import arguments, models, report, results
from book.__main__ import include, write_all
from book.estimate import estimate
from book.program import Benchmark, Program, ProgramError
from book.results import Book, Result, Sample
from book.sampling import Sampler, Settings, duration

FIXTURE = pathlib.Path(__file__).parent / "gpu_book.json"


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)


class Options(unittest.TestCase):
    def refused(self, *words: str) -> str:
        errors = io.StringIO()
        with self.assertRaises(SystemExit) as stopped, contextlib.redirect_stderr(errors):
            arguments.read_arguments(list(words))
        self.assertEqual(stopped.exception.code, 2)
        return errors.getvalue().splitlines()[-1]

    def test_mistakes_are_named_with_what_is_allowed(self):
        for words, found in ((("--rounds", "0"), 'found "0", allowed is a whole number of at least 1'),
                             (("--noise", "x"), 'found "x", allowed is a number of at least 0'),
                             (("--seconds", "inf"), 'found "inf", allowed is a number of at least 0'),
                             (("--filter", "("), "allowed is a regular expression"),
                             (("--model", "no/such.upg"), "no/such.upg: no such file or folder"),
                             (("--include", "no.json"), "no.json: no such file or folder"),
                             (("--save-baseline", "../x"), "allowed are letters, digits"),
                             (("--baseline", "never-saved"), 'found "never-saved", allowed:')):
            self.assertIn(found, self.refused(*words))

    def test_defaults(self):
        options = arguments.read_arguments([])
        self.assertEqual((options.noise, options.phi4, options.rounds, options.tiny), (5, 4, None, False))
        self.assertTrue(options.output.is_absolute())


class LeftBehind(Folder):
    def test_files_are_written_together_or_not_at_all(self):
        paths = {self.folder / "a": "1", self.folder / "missing" / "b": "2"}
        with self.assertRaises(OSError):
            write_all(paths)
        self.assertEqual(list(self.folder.iterdir()), [])
        write_all({self.folder / "a": "1", self.folder / "b": "2"})
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["a", "b"])

    def test_a_model_that_fails_leaves_nothing(self):
        target, notes = self.folder / "models" / "x.upg", []
        with self.assertRaises(ProgramError) as stopped:
            models.make(target, notes.append, "sh", "-c", 'echo half > "$0"; echo "disk full" >&2; exit 1', target)
        self.assertEqual((str(stopped.exception), notes), ("sh: disk full", ["making x.upg, once"]))
        self.assertEqual(list(target.parent.iterdir()), [])
        models.make(target, notes.append, "sh", "-c", 'echo all > "$0"', target)
        self.assertEqual((target.read_text(), len(list(target.parent.iterdir()))), ("all\n", 1))
        models.make(target, notes.append, "false")  # it is there

    def test_programs_are_stopped_whatever_they_are_at(self):
        program = Program([sys.executable, "-c", "import time; time.sleep(1000)"])
        program.start()
        process = program.process
        Program.stop_all()
        self.assertEqual((process.returncode, program.process), (-9, None))


class TimeLeft(unittest.TestCase):
    def left(self, rounds: int, done: float, spent: float) -> str:
        sampler = Sampler([], {}, Settings(rounds=10, most_rounds=30, seconds=900), lambda line: None)
        sampler.round, sampler.begin = rounds, sampler.begin - spent
        return sampler.time_left(done)

    def test_words(self):
        self.assertEqual(self.left(0, 0.01, 1), "time left not yet known")
        self.assertEqual(self.left(2, 0.5, 100), "about 5 min left, more where samples scatter")
        self.assertEqual(self.left(10, 0, 520), "at most 7 min left")  # 380 s, and the round that has begun
        self.assertEqual(self.left(10, 0, 6), "at most 13 s left")
        self.assertEqual((duration(89), duration(91)), ("89 s", "2 min"))


class OtherMachines(Folder):
    def setUp(self):
        super().setUp()
        row = Benchmark("limit/read/threads:2", {"threads": "2"}, 1e9, "bytes")
        result = Result(row, [Sample(0, 1, 0.02)])
        result.estimate = estimate([1], [0.02])
        self.book = Book({"cpu": "a processor", "threads": 2, "backend": "avx2"}, "abc", "2026-01-01T00:00:00",
                         "scripts/bench", False, 1.0, [result])

    def test_rows_are_shown_with_their_machine(self):
        other = results.load(FIXTURE)
        other.results[0].comparison = argparse.Namespace(verdict="regressed")
        include(self.book, other)
        self.assertEqual(self.book.regressions(), [])
        files = report.report_files(self.book, [])
        page, text = files["book.html"], files["book.md"]
        for line in ("| used |  | cuda:0 A GPU, 132 multiprocessors, 140 GB |",
                     "| cuda/read | 4,000 GB/s | 4,000 GB/s | 4,000 GB/s | 3 | A GPU |",
                     "| upg path3, cuda | 5.00 µs ± 0 % | 200 µs | 5,000 |  | 49 % | 4.15 ms | A GPU |",
                     "| bf16, cuBLAS | 20.0 µs ± 0 % | 800 µs | 1,250 |  | 66 % |  | A GPU |",
                     "| csr, cuSPARSE | 40.0 µs ± 0 % | 1.60 ms | 625 |  | 49 % |  | A GPU |",
                     "| path3 | cuda |  | memory | 5.00 µs, 49 % | 1,970 GB/s | A GPU |",
                     "| phi4-4-layers.upg | 1.00 GB | cuda |  | tg128 | 1000.00 ± 0.00 | 25 % | A GPU |",
                     "| phi4-4-layers.upg | 3.70 GB | cuBLAS bf16 |  | products | 800.00 ± 0.00 | 74 % | A GPU |"):
            self.assertIn(line, text)
        self.assertIn("<th>A GPU</th>", page)

    def test_a_book_with_others_rows_comes_back(self):
        include(self.book, results.load(FIXTURE))
        (self.folder / "book.json").write_text(results.dump(self.book))
        again = results.load(self.folder / "book.json")
        self.assertEqual(again, self.book)
        third = Book({"cpu": "third"}, "d", "2026-01-03T00:00:00", "scripts/bench", False, 1.0, [])
        include(third, again)
        self.assertEqual({result.machine for result in third.results}, {"a processor", "A GPU"})
        self.assertEqual([facts["name"] for facts in third.machines], ["a processor", "A GPU"])


if __name__ == "__main__":
    unittest.main()
