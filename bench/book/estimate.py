"""What a benchmark's samples say: typical time and its uncertainty, outliers, the line through the samples.

As in Criterion: percentile intervals from bootstrap samples, Tukey's fences for outliers, a line through the origin
for the time of an iteration.
"""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
MILD, SEVERE = 1.5, 3.0  # of the distance between the quartiles


@dataclass
class Interval:
    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


@dataclass
class Outliers:
    low_severe: int
    low_mild: int
    high_mild: int
    high_severe: int

    @property
    def total(self) -> int:
        return self.low_severe + self.low_mild + self.high_mild + self.high_severe


@dataclass
class Estimate:
    """Seconds an iteration."""

    samples: int
    median: Interval
    mean: Interval
    deviation: float  # standard deviation of the samples
    minimum: float
    slope: Interval | None  # of total time over iterations; None where all samples have as many
    outliers: Outliers


def bootstrap(values: np.ndarray, statistic, seed: int = 1) -> Interval:
    """`statistic` takes an array [resamples, n] and reduces its last axis."""
    random = np.random.default_rng(seed)
    value = float(statistic(values[None, :])[0])
    if len(values) < 2:
        return Interval(value, value, value)
    chosen = values[random.integers(0, len(values), (RESAMPLES, len(values)))]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(statistic(chosen), [tail, 100 - tail])
    return Interval(value, float(low), float(high))


def median_interval(values) -> Interval:
    return bootstrap(np.asarray(values, float), lambda samples: np.median(samples, axis=-1))


def mean_interval(values) -> Interval:
    return bootstrap(np.asarray(values, float), lambda samples: np.mean(samples, axis=-1))


def slope_through_origin(iterations: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    return (iterations * seconds).sum(axis=-1) / (iterations * iterations).sum(axis=-1)


def slope_interval(iterations, seconds, seed: int = 1) -> Interval | None:
    iterations, seconds = np.asarray(iterations, float), np.asarray(seconds, float)
    if len(np.unique(iterations)) < 2:
        return None
    random = np.random.default_rng(seed)
    chosen = random.integers(0, len(seconds), (RESAMPLES, len(seconds)))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(slope_through_origin(iterations[chosen], seconds[chosen]), [tail, 100 - tail])
    return Interval(float(slope_through_origin(iterations, seconds)), float(low), float(high))


def classify_outliers(values) -> Outliers:
    values = np.asarray(values, float)
    first, third = np.percentile(values, [25, 75])
    spread = third - first
    low_severe = int((values < first - SEVERE * spread).sum())
    high_severe = int((values > third + SEVERE * spread).sum())
    return Outliers(
        low_severe=low_severe,
        low_mild=int((values < first - MILD * spread).sum()) - low_severe,
        high_mild=int((values > third + MILD * spread).sum()) - high_severe,
        high_severe=high_severe,
    )


def estimate(iterations, seconds) -> Estimate:
    """From the iterations of each sample and the seconds that all of them took."""
    each = np.asarray(seconds, float) / np.asarray(iterations, float)
    return Estimate(
        samples=len(each),
        median=median_interval(each),
        mean=mean_interval(each),
        deviation=float(each.std(ddof=1)) if len(each) > 1 else 0.0,
        minimum=float(each.min()),
        slope=slope_interval(iterations, seconds),
        outliers=classify_outliers(each),
    )


def log_log_slope(x, y) -> Interval:
    """Slope of log y over log x by least squares, with Student's interval."""
    from scipy import stats

    x, y = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
    line = stats.linregress(x, y)
    if len(x) < 3:
        return Interval(float(line.slope), float("-inf"), float("inf"))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 2) * line.stderr)
    return Interval(float(line.slope), float(line.slope) - reach, float(line.slope) + reach)
