#include "codec/path_palette.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "codec/primes.h"

namespace upg::codec {
namespace {

constexpr int kMaxStates = 16;
// Search and least squares alternate until so many rounds in a row gained less than this share.
// Gaussian rows stop at once; heavy tails take tens of rounds to pull the outer entries out.
constexpr int kMaxRounds = 40;
constexpr int kPatience = 3;
constexpr double kWorthwhile = 1e-3;
constexpr int kSweeps = 30;  // of the least squares, which converge geometrically

// Found from the palettes published for a unit Gaussian: least squares from many starts around
// them, then every level moved by one in turn while that helped, over a million Gaussian weights.
// On another million: 0.0956, 0.0253 and 0.0065 of the variance.
constexpr PathFit kGaussian2 = {{2, {-39, -12, 4, 31}, {1, 30, -22, 7}}, 28.96f};
constexpr PathFit kGaussian3 = {
    {3, {-40, -23, -12, -4, 5, 14, 25, 42}, {-8, 8, -23, 20, -1, -14, 10, -5}}, 22.94f};
constexpr PathFit kGaussian4 = {{4,
                                 {-45, -29, -22, -17, -13, -9, -5, -2, 1, 4, 7, 11, 16, 21, 28, 43},
                                 {4, 12, 0, -6, 5, -9, -14, 19, -4, -18, 0, 11, -10, 7, 3, -4}},
                                18.47f};

// Palettes in units of the rows' root mean square.
struct RealPalettes {
  std::array<double, kMaxStates> a = {};
  std::array<double, kMaxStates> b = {};
};

// What a search found, as far as least squares need it: for every pair of code and code before, how
// often it occurs and the sum of its targets.
struct Pairs {
  double count[kMaxStates][kMaxStates] = {};
  double sum[kMaxStates][kMaxStates] = {};
};

Pairs search_pairs(const PathFit& fit, std::span<const float> chains, int64_t count) {
  std::vector<float> targets(chains.size());
  std::vector<uint8_t> codes(chains.size());
  for (size_t i = 0; i < chains.size(); ++i) targets[i] = chains[i] * fit.levels_per_rms;
  encode_chains(fit.palettes, targets.data(), count, codes.data());
  Pairs pairs;
  for (int p = 0; p < kChainLength; ++p) {
    const uint8_t* code = codes.data() + p * count;
    const uint8_t* before = codes.data() + (p + kChainLength - 1) % kChainLength * count;
    const float* x = chains.data() + p * count;
    for (int64_t i = 0; i < count; ++i) {
      pairs.count[code[i]][before[i]] += 1;
      pairs.sum[code[i]][before[i]] += x[i];
    }
  }
  return pairs;
}

// The palettes nearest to the targets of the pairs, by fitting each entry in turn to what the
// others leave. An entry that no weight uses stays.
void fit_entries(int states, const Pairs& pairs, RealPalettes& real) {
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (int i = 0; i < states; ++i) {
      double count = 0, rest = 0;
      for (int j = 0; j < states; ++j) {
        count += pairs.count[i][j];
        rest += pairs.sum[i][j] - pairs.count[i][j] * real.b[j];
      }
      if (count > 0) real.a[i] = rest / count;
    }
    for (int j = 0; j < states; ++j) {
      double count = 0, rest = 0;
      for (int i = 0; i < states; ++i) {
        count += pairs.count[i][j];
        rest += pairs.sum[i][j] - pairs.count[i][j] * real.a[i];
      }
      if (count > 0) real.b[j] = rest / count;
    }
  }
}

int round_level(double value, float levels_per_rms) {
  return static_cast<int>(std::lround(std::clamp(value * levels_per_rms, -63.0, 63.0)));
}

// False when two entries add up to more than 63.
bool round_palettes(int states, const RealPalettes& real, PathFit& fit) {
  int a_low = kMaxLevel, a_high = -kMaxLevel, b_low = kMaxLevel, b_high = -kMaxLevel;
  for (int i = 0; i < states; ++i) {
    const int a = round_level(real.a[i], fit.levels_per_rms);
    const int b = round_level(real.b[i], fit.levels_per_rms);
    a_low = std::min(a_low, a), a_high = std::max(a_high, a);
    b_low = std::min(b_low, b), b_high = std::max(b_high, b);
    fit.palettes.a[i] = static_cast<int8_t>(a);
    fit.palettes.b[i] = static_cast<int8_t>(b);
  }
  return a_high + b_high <= kMaxLevel && a_low + b_low >= -kMaxLevel;
}

// Levels that use the whole range: the farther extreme of a + b becomes 63, or a little less where
// rounding would carry it beyond.
PathFit to_levels(int bits, const RealPalettes& real) {
  const int states = 1 << bits;
  const auto [a_low, a_high] = std::minmax_element(real.a.begin(), real.a.begin() + states);
  const auto [b_low, b_high] = std::minmax_element(real.b.begin(), real.b.begin() + states);
  double extreme = std::max(*a_high + *b_high, -(*a_low + *b_low));
  if (!(extreme > 0)) extreme = 1;  // nothing but zeros
  PathFit fit;
  fit.palettes.bits = bits;
  fit.levels_per_rms = static_cast<float>(kMaxLevel / extreme);
  while (!round_palettes(states, real, fit)) fit.levels_per_rms *= 0.998f;
  return fit;
}

// Gives the fit the scale that is best for the codes behind the pairs. Returns how much of the
// targets' sum of squares they then explain.
double refit_scale(const Pairs& pairs, PathFit& fit) {
  double product = 0, square = 0;
  for (int i = 0; i < 1 << fit.palettes.bits; ++i) {
    for (int j = 0; j < 1 << fit.palettes.bits; ++j) {
      const double level = fit.palettes.a[i] + fit.palettes.b[j];
      product += level * pairs.sum[i][j];
      square += level * level * pairs.count[i][j];
    }
  }
  if (product <= 0 || square <= 0) return 0;  // nothing but zeros: any scale is as good
  fit.levels_per_rms = static_cast<float>(square / product);
  return product * product / square;
}

RealPalettes to_real(const PathFit& fit) {
  RealPalettes real;
  for (int i = 0; i < kMaxStates; ++i) {
    real.a[i] = fit.palettes.a[i] / static_cast<double>(fit.levels_per_rms);
    real.b[i] = fit.palettes.b[i] / static_cast<double>(fit.levels_per_rms);
  }
  return real;
}

struct Attempt {
  PathFit fit;
  double explained = 0;  // of the sum of squares
};

Attempt alternate(PathFit fit, std::span<const float> chains, int64_t count) {
  double square = 0;
  for (const float x : chains) square += static_cast<double>(x) * x;
  Attempt best = {fit, 0};
  for (int round = 0, idle = 0; round < kMaxRounds && idle < kPatience; ++round) {
    const Pairs pairs = search_pairs(fit, chains, count);
    RealPalettes real = to_real(fit);
    const double explained = refit_scale(pairs, fit);
    const double gain = explained - best.explained;
    idle = gain > kWorthwhile * (square - best.explained) ? 0 : idle + 1;
    if (gain > 0) best = {fit, explained};
    fit_entries(1 << fit.palettes.bits, pairs, real);
    fit = to_levels(fit.palettes.bits, real);
  }
  return best;
}

// A start for weights that are not Gaussian: the first palette goes where the weights have as many
// below them as the Gaussian has, the second is scaled as the middle half of the first.
PathFit quantile_fit(const PathFit& start, std::span<const float> chains) {
  const int states = 1 << start.palettes.bits;
  std::vector<float> sorted(chains.begin(), chains.end());
  std::sort(sorted.begin(), sorted.end());
  RealPalettes real = to_real(start);
  const double middle = real.a[3 * states / 4] - real.a[states / 4];
  for (int i = 0; i < states; ++i) {
    const double share = 0.5 * std::erfc(-real.a[i] / std::sqrt(2.0));
    real.a[i] = sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
  }
  const double factor = (real.a[3 * states / 4] - real.a[states / 4]) / middle;
  for (double& b : real.b) b *= factor;
  return to_levels(start.palettes.bits, real);
}

}  // namespace

PathFit gaussian_fit(int bits) {
  UPG_CHECK(2 <= bits && bits <= 4);
  return bits == 2 ? kGaussian2 : bits == 3 ? kGaussian3 : kGaussian4;
}

PathFit fit_palettes(const PathFit& start, std::span<const float> chains, int64_t count) {
  UPG_CHECK(static_cast<int64_t>(chains.size()) == count * kChainLength);
  const Attempt from_start = alternate(start, chains, count);
  const Attempt from_quantiles = alternate(quantile_fit(start, chains), chains, count);
  return from_quantiles.explained > from_start.explained ? from_quantiles.fit : from_start.fit;
}

}  // namespace upg::codec
