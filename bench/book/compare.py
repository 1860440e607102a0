"""Has a benchmark changed? Two builds, measured in turns, or this build and figures that were saved.

Measured in turns, each round gives one pair of times a few milliseconds apart, so that what the rest of the machine
does in the meantime falls out of their ratio. The typical ratio is Hodges and Lehmann's estimate over the logarithms
(the median of the means of all pairs of them): as robust as a median, nearly as sharp as a mean. Its interval and the
significance are those of Wilcoxon's signed-rank test, exact, so nothing is assumed about the noise but symmetry.

A benchmark has changed where the test is significant and the whole interval lies beyond the noise threshold.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

SIGNIFICANCE = 0.01
CONFIDENCE = 0.95

IMPROVED, REGRESSED, NO_CHANGE = "improved", "regressed", "no change"


@dataclass
class Comparison:
    """Time of the new build over that of the baseline."""

    ratio: float
    low: float
    high: float
    p: float
    verdict: str
    paired: bool
    pairs: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def walsh_averages(values: np.ndarray) -> np.ndarray:
    """Means of all pairs, each value with itself included; sorted."""
    first, second = np.triu_indices(len(values))
    return np.sort((values[first] + values[second]) / 2)


def signed_rank_counts(n: int) -> np.ndarray:
    """counts[w]: of the 2^n choices of signs, how many have a sum w of positive ranks."""
    counts = np.zeros(n * (n + 1) // 2 + 1)
    counts[0] = 1
    for rank in range(1, n + 1):
        counts[rank:] += counts[:-rank].copy()
    return counts


def signed_rank_reach(n: int, confidence: float = CONFIDENCE) -> int:
    """How many of the smallest, and of the largest, Walsh averages lie outside the interval."""
    cumulative = np.cumsum(signed_rank_counts(n)) / 2.0**n
    return max(0, int(np.searchsorted(cumulative, (1 - confidence) / 2, side="right")) - 1)


def hodges_lehmann(values) -> tuple[float, float, float]:
    """Centre and confidence interval of values that scatter symmetrically."""
    averages = walsh_averages(np.asarray(values, float))
    reach = min(signed_rank_reach(len(values)), (len(averages) - 1) // 2)
    return float(np.median(averages)), float(averages[reach]), float(averages[-1 - reach])


def signed_rank_p(values) -> float:
    values = np.asarray(values, float)
    if len(values) == 0 or not values.any():
        return 1.0
    return float(stats.wilcoxon(values).pvalue)


def verdict(low: float, high: float, p: float, noise: float) -> str:
    """low, high: of the ratio. noise: 0.05 for five percent."""
    if p < SIGNIFICANCE and low > 1 + noise:
        return REGRESSED
    if p < SIGNIFICANCE and high < 1 / (1 + noise):
        return IMPROVED
    return NO_CHANGE


def compare_pairs(new, old, noise: float) -> Comparison:
    """Seconds an iteration, new[i] measured next to old[i]."""
    logs = np.log(np.asarray(new, float) / np.asarray(old, float))
    ratio, low, high = np.exp(hodges_lehmann(logs))
    p = signed_rank_p(logs)
    return Comparison(ratio, low, high, p, verdict(low, high, p, noise), True, len(logs))


def compare_sets(new, old, noise: float) -> Comparison:
    """The same for samples of different runs: Mann and Whitney's test, Hodges and Lehmann's shift."""
    new, old = np.log(np.asarray(new, float)), np.log(np.asarray(old, float))
    shifts = np.sort((new[:, None] - old[None, :]).ravel())
    spread = np.sqrt(len(new) * len(old) * (len(new) + len(old) + 1) / 12)
    reach = int(len(shifts) / 2 - stats.norm.ppf((1 + CONFIDENCE) / 2) * spread)
    reach = min(max(reach, 0), (len(shifts) - 1) // 2)
    ratio, low, high = np.exp([np.median(shifts), shifts[reach], shifts[-1 - reach]])
    p = float(stats.mannwhitneyu(new, old).pvalue)
    return Comparison(ratio, low, high, p, verdict(low, high, p, noise), False, min(len(new), len(old)))
