#include "codec/path_viterbi.h"

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "codec/codec_testing.h"
#include "codec/path_palette.h"
#include "gtest/gtest.h"

namespace upg::codec {
namespace {

const ViterbiVariant& plain() { return viterbi_variants().back(); }

std::vector<float> random_targets(int64_t chains, float deviation, uint32_t seed) {
  std::vector<float> targets = testing::gaussian(chains * kChainLength, seed);
  for (float& target : targets) target *= deviation;
  return targets;
}

// Squared errors in units of the search; the targets' own square left out.
int64_t cost_of(const PathPalettes& palettes, const int32_t* q, const uint8_t* codes) {
  int64_t cost = 0;
  for (int p = 0; p < kChainLength; ++p) {
    const int64_t level = palettes.a[codes[p]] + palettes.b[codes[(p + 15) % 16]];
    cost += 64 * level * level - int64_t{2} * q[p] * level;
  }
  return cost;
}

// The least cost of all closed paths over two codes, with or without the last code given.
int64_t brute_force(const PathPalettes& palettes, const int32_t* q, int closing) {
  int64_t best = std::numeric_limits<int64_t>::max();
  for (int path = 0; path < 1 << kChainLength; ++path) {
    if (closing >= 0 && path >> 15 != closing) continue;
    uint8_t codes[kChainLength];
    for (int p = 0; p < kChainLength; ++p) codes[p] = static_cast<uint8_t>(path >> p & 1);
    best = std::min(best, cost_of(palettes, q, codes));
  }
  return best;
}

TEST(PathViterbi, IsExactOnceTheClosingCodeIsGiven) {
  // Two codes, so that all 65536 closed paths can be tried.
  const PathPalettes palettes = {2, {-30, 25}, {-11, 17}};
  const viterbi::Tables tables = viterbi::make_tables(palettes);
  const std::vector<float> targets = random_targets(20, 25, 1);
  for (int chain = 0; chain < 20; ++chain) {
    int32_t q[kChainLength];
    for (int p = 0; p < kChainLength; ++p) {
      q[p] = viterbi::fixed_point(targets[chain * kChainLength + p]);
    }
    for (int closing = 0; closing < 2; ++closing) {
      uint8_t codes[kChainLength];
      viterbi::closed_path(tables, 2, q, closing, codes);
      EXPECT_EQ(codes[kChainLength - 1], closing);
      EXPECT_EQ(cost_of(palettes, q, codes), brute_force(palettes, q, closing));
    }
  }
}

TEST(PathViterbi, TheOpenSearchMostlyFindsTheBestClosingCode) {
  const PathPalettes palettes = gaussian_fit(3).palettes;
  const viterbi::Tables tables = viterbi::make_tables(palettes);
  const std::vector<float> targets = random_targets(500, 23, 2);
  int best_found = 0;
  for (int chain = 0; chain < 500; ++chain) {
    int32_t q[kChainLength];
    for (int p = 0; p < kChainLength; ++p) {
      q[p] = viterbi::fixed_point(targets[chain * kChainLength + p]);
    }
    int64_t costs[8];
    for (int closing = 0; closing < 8; ++closing) {
      uint8_t codes[kChainLength];
      viterbi::closed_path(tables, 8, q, closing, codes);
      costs[closing] = cost_of(palettes, q, codes);
    }
    best_found += costs[viterbi::closing_code(tables, 8, q)] == *std::min_element(costs, costs + 8);
  }
  EXPECT_GT(best_found, 400);
}

TEST(PathViterbi, FixedPointRoundsHalfToEvenAndClamps) {
  EXPECT_EQ(viterbi::fixed_point(1.0f), 64);
  EXPECT_EQ(viterbi::fixed_point(0.5f / 64), 0);
  EXPECT_EQ(viterbi::fixed_point(1.5f / 64), 2);
  EXPECT_EQ(viterbi::fixed_point(-2.5f / 64), -2);
  EXPECT_EQ(viterbi::fixed_point(1e30f), 252 * 64);
  EXPECT_EQ(viterbi::fixed_point(-std::numeric_limits<float>::infinity()), -252 * 64);
}

TEST(PathViterbi, PathCostIsTheSquaredErrorWithoutTheTargets) {
  const PathPalettes palettes = gaussian_fit(4).palettes;
  const float targets[kChainLength] = {1, -2, 3.5f, 0, 10, -60, 0.25f, 7, 1, 2, 3, 4, 5, 6, 7, 8};
  uint8_t codes[kChainLength];
  encode_chains(palettes, targets, 1, codes);
  double error = 0, square = 0;
  for (int p = 0; p < kChainLength; ++p) {
    const double difference = targets[p] - palettes.a[codes[p]] - palettes.b[codes[(p + 15) % 16]];
    error += difference * difference;
    square += static_cast<double>(targets[p]) * targets[p];
  }
  EXPECT_EQ(path_cost(palettes, targets, codes, 1), static_cast<int64_t>(64 * (error - square)));
}

class PathViterbiVariant : public ::testing::TestWithParam<ViterbiVariant> {
 protected:
  void SetUp() override {
    if (!GetParam().supported()) GTEST_SKIP() << "this machine lacks " << GetParam().name;
  }
};

// Bit for bit what the plain loops find, ties and clamped targets included.
TEST_P(PathViterbiVariant, FindsTheSameCodesAsThePlainSearch) {
  constexpr int64_t kChains = 1024;
  for (int bits = 2; bits <= 4; ++bits) {
    PathPalettes extreme = gaussian_fit(bits).palettes;  // the longest costs
    extreme.a[0] = -63, extreme.a[1] = 63, extreme.b = {};
    for (const PathPalettes& palettes : {gaussian_fit(bits).palettes, extreme}) {
      for (const float deviation : {0.0f, 20.0f, 400.0f, 1e30f}) {
        std::vector<float> targets = random_targets(kChains, deviation, 3);
        if (deviation == 20) {
          for (float& target : targets) target = static_cast<float>(static_cast<int>(target));
        }
        std::vector<uint8_t> want(targets.size()), got(targets.size());
        plain().encode(palettes, targets.data(), kChains, kChains, want.data());
        GetParam().encode(palettes, targets.data(), kChains, kChains, got.data());
        EXPECT_EQ(want, got) << bits << " bits, deviation " << deviation;
      }
    }
  }
}

TEST_P(PathViterbiVariant, LeavesTheRestOfTheStrideAlone) {
  constexpr int64_t kStride = 80;
  const int64_t count = GetParam().lanes;
  const PathPalettes palettes = gaussian_fit(3).palettes;
  const std::vector<float> targets = random_targets(kStride, 20, 4);
  std::vector<uint8_t> codes(targets.size(), 99);
  GetParam().encode(palettes, targets.data(), count, kStride, codes.data());
  for (size_t i = 0; i < codes.size(); ++i) {
    EXPECT_EQ(codes[i] == 99, static_cast<int64_t>(i) % kStride >= count);
  }
}

INSTANTIATE_TEST_SUITE_P(All, PathViterbiVariant, ::testing::ValuesIn(viterbi_variants()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(PathViterbi, AnyNumberOfChains) {
  const PathPalettes palettes = gaussian_fit(3).palettes;
  for (int64_t count = 0; count <= 70; ++count) {
    const std::vector<float> targets = random_targets(count, 20, 5);
    std::vector<uint8_t> want(targets.size()), got(targets.size());
    plain().encode(palettes, targets.data(), count, count, want.data());
    encode_chains(palettes, targets.data(), count, got.data());
    ASSERT_EQ(want, got) << count;
  }
}

TEST(PathPalette, StartsKeepTheirSumsInRange) {
  for (int bits = 2; bits <= 4; ++bits) {
    const PathFit fit = gaussian_fit(bits);
    const int states = 1 << bits;
    const auto [a_low, a_high] =
        std::minmax_element(fit.palettes.a.begin(), fit.palettes.a.begin() + states);
    const auto [b_low, b_high] =
        std::minmax_element(fit.palettes.b.begin(), fit.palettes.b.begin() + states);
    EXPECT_LE(*a_high + *b_high, 63);
    EXPECT_GE(*a_low + *b_low, -63);
  }
}

TEST(PathPalette, FitsAnotherDistributionAndStaysInRange) {
  // Uniform weights want evenly spread levels, not the Gaussian's.
  std::mt19937 random(6);
  std::uniform_real_distribution<float> uniform(-1.732f, 1.732f);
  std::vector<float> chains(kChainLength * 2048);
  for (float& x : chains) x = uniform(random);
  auto error_of = [&](const PathFit& fit) {
    std::vector<float> targets = chains;
    for (float& target : targets) target *= fit.levels_per_rms;
    std::vector<uint8_t> codes(chains.size());
    encode_chains(fit.palettes, targets.data(), 2048, codes.data());
    double error = 0;
    for (size_t i = 0; i < chains.size(); ++i) {
      const size_t before = (i + chains.size() - 2048) % chains.size();
      const int level = fit.palettes.a[codes[i]] + fit.palettes.b[codes[before]];
      error += (chains[i] - level / fit.levels_per_rms) * (chains[i] - level / fit.levels_per_rms);
    }
    return error / static_cast<double>(chains.size());
  };
  for (int bits = 2; bits <= 4; ++bits) {
    const PathFit fit = fit_palettes(gaussian_fit(bits), chains, 2048);
    EXPECT_LT(error_of(fit), 0.9 * error_of(gaussian_fit(bits))) << bits;
    for (int i = 0; i < 1 << bits; ++i) {
      for (int j = 0; j < 1 << bits; ++j) {
        EXPECT_LE(std::abs(fit.palettes.a[i] + fit.palettes.b[j]), 63);
      }
    }
  }
}

TEST(PathPalette, SurvivesWhatCannotBeFitted) {
  for (const float value : {0.0f, 1.0f, -1e30f}) {
    const std::vector<float> chains(kChainLength * 32, value);
    const PathFit fit = fit_palettes(gaussian_fit(3), chains, 32);
    EXPECT_GT(fit.levels_per_rms, 0) << value;
  }
}

}  // namespace
}  // namespace upg::codec
