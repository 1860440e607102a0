#include "codec/sparse_levels.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "codec/primes.h"

namespace upg::codec {
namespace {

constexpr int kLevels = 15;  // beside level 0
constexpr int kLloydRounds = 40;

// Lloyd's alternation on sorted samples: each level's share lies between the midpoints, the level
// moves to its mean.
std::array<double, kLevels> lloyd(const std::vector<float>& sorted) {
  std::vector<double> sums(sorted.size() + 1);
  for (size_t i = 0; i < sorted.size(); ++i) sums[i + 1] = sums[i] + sorted[i];
  std::array<double, kLevels> levels;
  for (size_t i = 0; i < kLevels; ++i) {
    levels[i] = sorted[(2 * i + 1) * sorted.size() / (2 * size_t{kLevels})];
  }
  for (int round = 0; round < kLloydRounds; ++round) {
    size_t begin = 0;
    for (size_t i = 0; i < kLevels; ++i) {
      size_t end = sorted.size();
      if (i + 1 < kLevels) {
        const double middle = (levels[i] + levels[i + 1]) / 2;
        const auto from = sorted.begin() + static_cast<int64_t>(begin);
        end = static_cast<size_t>(std::upper_bound(from, sorted.end(), middle) - sorted.begin());
      }
      if (end > begin) levels[i] = (sums[end] - sums[begin]) / static_cast<double>(end - begin);
      begin = end;
    }
  }
  return levels;
}

SparseFit to_fit(const std::array<double, kLevels>& levels) {
  double extreme = 0;
  for (const double level : levels) extreme = std::max(extreme, std::fabs(level));
  SparseFit fit;
  fit.levels_per_rms = kMaxLevel / extreme;
  for (size_t i = 0; i < kLevels; ++i) {
    fit.level[i + 1] = static_cast<int8_t>(std::lround(levels[i] * fit.levels_per_rms));
  }
  return fit;
}

}  // namespace

SparseFit gaussian_sparse_fit() {
  return to_fit(
      {-2.0, -1.5, -1.2, -1.0, -0.85, -0.7, -0.6, 0.55, 0.62, 0.72, 0.85, 1.0, 1.2, 1.5, 2.0});
}

SparseFit fit_sparse_levels(std::vector<float> sample) {
  if (sample.empty()) return gaussian_sparse_fit();
  std::sort(sample.begin(), sample.end());
  return to_fit(lloyd(sample));
}

NearestCode::NearestCode(const std::array<int8_t, 16>& level, Zero zero) {
  const int first = zero == Zero::kNever ? 1 : 0;
  for (int i = 0; i < static_cast<int>(code_.size()); ++i) {
    const int target = 2 * (i - kOffset) + 1;  // the cell's middle, times 4
    int best = first;
    for (int code = first + 1; code < 16; ++code) {
      const auto distance = [&](int of) {
        return std::abs(4 * level[static_cast<size_t>(of)] - target);
      };
      if (distance(code) < distance(best)) best = code;
    }
    code_[static_cast<size_t>(i)] = static_cast<uint8_t>(best);
  }
}

}  // namespace upg::codec
