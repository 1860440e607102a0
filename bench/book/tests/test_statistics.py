"""Estimates and comparisons against scipy, closed forms, and simulated machines."""

import itertools
import unittest

import numpy as np
from scipy import stats

from book import compare, estimate


class Estimates(unittest.TestCase):
    def test_bootstrap_agrees_with_scipy(self):
        values = np.random.default_rng(3).gamma(4.0, size=60)
        ours = estimate.mean_interval(values)
        theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000,
                                 random_state=np.random.default_rng(4)).confidence_interval
        self.assertAlmostEqual(ours.value, values.mean(), places=12)
        self.assertAlmostEqual(ours.low, theirs.low, delta=0.06)
        self.assertAlmostEqual(ours.high, theirs.high, delta=0.06)

    def test_intervals_cover_as_often_as_they_say(self):
        random = np.random.default_rng(5)
        hits = 0
        for _ in range(300):
            interval = estimate.median_interval(random.normal(1.0, 0.1, 30))
            hits += interval.low <= 1.0 <= interval.high
        self.assertGreater(hits / 300, 0.90)

    def test_one_sample_has_no_width(self):
        interval = estimate.median_interval([2.0])
        self.assertEqual((interval.value, interval.low, interval.high), (2.0, 2.0, 2.0))

    def test_outliers_by_tukeys_fences(self):
        # Quartiles 2 and 4 of 1...5 and more: fences at -1 and 7, -4 and 10.
        values = [1, 2, 3, 4, 5] * 20 + [8, -2, 11, -5]
        found = estimate.classify_outliers(values)
        self.assertEqual((found.low_severe, found.low_mild, found.high_mild, found.high_severe), (1, 1, 1, 1))
        self.assertEqual(found.total, 4)
        self.assertEqual(estimate.classify_outliers([1.0] * 10).total, 0)

    def test_slope_of_exact_samples(self):
        slope = estimate.slope_interval([1, 2, 3, 4], [0.5, 1.0, 1.5, 2.0])
        for value in (slope.value, slope.low, slope.high):
            self.assertAlmostEqual(value, 0.5)
        self.assertIsNone(estimate.slope_interval([2, 2], [1.0, 1.1]))

    def test_log_log_slope_against_scipy(self):
        x = np.array([1e3, 1e4, 1e5, 1e6])
        y = 3e-9 * x**1.02 * np.array([1.01, 0.98, 1.02, 1.0])
        ours, theirs = estimate.log_log_slope(x, y), stats.linregress(np.log(x), np.log(y))
        self.assertAlmostEqual(ours.value, theirs.slope)
        self.assertAlmostEqual(ours.half_width, stats.t.ppf(0.975, 2) * theirs.stderr)
        self.assertTrue(ours.low < 1.02 < ours.high)


class SignedRank(unittest.TestCase):
    def test_counts_by_enumeration(self):
        for n in range(1, 9):
            counts = np.zeros(n * (n + 1) // 2 + 1)
            for signs in itertools.product((0, 1), repeat=n):
                counts[sum(rank for rank, sign in enumerate(signs, 1) if sign)] += 1
            np.testing.assert_array_equal(compare.signed_rank_counts(n), counts)

    def test_interval_is_the_tests_inverse(self):
        """A shift lies in the 95 % interval exactly where the test does not refuse it at 5 %."""
        values = np.random.default_rng(6).normal(0.2, 1.0, 11)
        _, low, high = compare.hodges_lehmann(values)
        for shift in (low - 1e-6, low + 1e-6, high - 1e-6, high + 1e-6):
            inside = low <= shift <= high
            self.assertEqual(stats.wilcoxon(values - shift).pvalue > 0.05, inside)

    def test_centre_is_robust(self):
        values = np.append(np.random.default_rng(7).normal(0, 0.01, 19), 5.0)
        self.assertLess(abs(compare.hodges_lehmann(values)[0]), 0.01)

    def test_equal_times_are_no_change(self):
        same = compare.compare_pairs([1.0] * 10, [1.0] * 10, 0.05)
        self.assertEqual((same.ratio, same.p, same.verdict), (1.0, 1.0, compare.NO_CHANGE))


def machine(random: np.random.Generator, rounds: int) -> np.ndarray:
    """What a neighbour does to two times taken side by side: a walk between 1 and 1.9 that both see, scatter of five
    percent in each, and bursts that hit one."""
    walk = 1.45 + 0.45 * np.sin(np.cumsum(random.normal(0, 0.6, rounds)))
    own = 1 + np.abs(random.normal(0, 0.05, (2, rounds)))
    own += (random.random((2, rounds)) < 0.03) * random.exponential(0.5, (2, rounds))
    return walk * own


class Verdicts(unittest.TestCase):
    def verdicts(self, factor: float, count: int = 200, rounds: int = 20) -> list[str]:
        random = np.random.default_rng(8)
        found = []
        for _ in range(count):
            old, new = machine(random, rounds)
            found.append(compare.compare_pairs(factor * new, old, 0.05).verdict)
        return found

    def test_the_same_build_is_no_change(self):
        self.assertGreaterEqual(self.verdicts(1.0).count(compare.NO_CHANGE), 198)

    def test_fifteen_percent_slower_is_a_regression(self):
        self.assertGreaterEqual(self.verdicts(1.15).count(compare.REGRESSED), 180)

    def test_fifteen_percent_faster_is_an_improvement(self):
        self.assertGreaterEqual(self.verdicts(1 / 1.15).count(compare.IMPROVED), 180)

    def test_less_than_the_noise_threshold_is_no_change(self):
        old = np.linspace(1, 1.001, 20)
        comparison = compare.compare_pairs(1.04 * old, old, 0.05)
        self.assertLess(comparison.p, 0.001)
        self.assertEqual(comparison.verdict, compare.NO_CHANGE)

    def test_saved_figures(self):
        random = np.random.default_rng(9)
        old, same, slow = random.normal(1, 0.02, (3, 12))
        self.assertEqual(compare.compare_sets(same, old, 0.05).verdict, compare.NO_CHANGE)
        self.assertEqual(compare.compare_sets(1.15 * slow, old, 0.05).verdict, compare.REGRESSED)
        self.assertAlmostEqual(compare.compare_sets(same, old, 0.05).p, stats.mannwhitneyu(np.log(same),
                                                                                            np.log(old)).pvalue)


if __name__ == "__main__":
    unittest.main()
