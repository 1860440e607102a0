#include "codec/path_feedback.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "codec/path_assembly.h"
#include "codec/path_palette.h"

namespace upg::codec {
namespace {

struct Case {
  PathPalettes palettes;
  ChainMetric metric;
  int64_t count;
  std::vector<float> targets;  // [16, count]
};

// Targets in levels; an error moves later targets by up to `coupling` of itself.
Case make_case(int bits, int64_t count, float coupling, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> gaussian;
  Case out{gaussian_fit(bits).palettes, {}, count, {}};
  for (size_t p = 0; p < kChainLength; ++p) {
    out.metric.weight[p] = 0.5f + std::fabs(gaussian(random));
    for (size_t q = p + 1; q < kChainLength; ++q) {
      out.metric.carry[p][q] = coupling * gaussian(random);
    }
  }
  out.targets.resize(static_cast<size_t>(kChainLength * count));
  for (float& t : out.targets) t = 20 * gaussian(random);
  return out;
}

std::vector<uint8_t> encode(const Case& c, Closings closings) {
  std::vector<uint8_t> codes(c.targets.size());
  encode_chains_feedback(c.palettes, c.metric, closings, c.targets.data(), c.count, codes.data());
  return codes;
}

double total_cost(const Case& c, const std::vector<uint8_t>& codes) {
  double cost = 0;
  for (int64_t i = 0; i < c.count; ++i) {
    cost += feedback_cost(c.palettes, c.metric, c.targets.data() + i, codes.data() + i, c.count,
                          c.count);
  }
  return cost;
}

class PathFeedback : public testing::TestWithParam<int> {};

TEST_P(PathFeedback, EveryVariantGivesTheSameCodes) {
  const Case c = make_case(GetParam(), 64, 0.2f, 1);
  for (const Closings closings : {Closings::kNearest, Closings::kAll}) {
    if (GetParam() == 4 && closings == Closings::kAll) continue;  // 256 plain searches a chain
    const std::vector<uint8_t> expected = encode(c, closings);
    for (const FeedbackVariant& variant : feedback_variants()) {
      if (!variant.supported()) continue;
      std::vector<uint8_t> codes(c.targets.size());
      if (closings == Closings::kNearest) {
        encode_chains(c.palettes, c.targets.data(), c.count, codes.data());
      }
      variant.encode(c.palettes, c.metric, closings, c.targets.data(), c.count, c.count,
                     codes.data());
      EXPECT_EQ(codes, expected) << variant.name;
    }
  }
}

TEST_P(PathFeedback, WithoutCouplingItIsThePlainSearch) {
  Case c = make_case(GetParam(), 48, 0, 2);
  c.metric.weight.fill(1);
  std::vector<uint8_t> plain(c.targets.size());
  encode_chains(c.palettes, c.targets.data(), c.count, plain.data());
  // Ties apart, the same paths: the losses agree to the rounding of the plain search's targets.
  const double expected = total_cost(c, plain);
  EXPECT_NEAR(total_cost(c, encode(c, Closings::kNearest)), expected, 2e-3 * expected);
  EXPECT_LE(total_cost(c, encode(c, Closings::kAll)), expected * 1.0001);
}

TEST_P(PathFeedback, KnowingTheCouplingLowersTheLoss) {
  const Case c = make_case(GetParam(), 256, 0.25f, 3);
  std::vector<uint8_t> plain(c.targets.size());
  encode_chains(c.palettes, c.targets.data(), c.count, plain.data());
  const double nearest = total_cost(c, encode(c, Closings::kNearest));
  EXPECT_LT(nearest, 0.9 * total_cost(c, plain));
  if (GetParam() < 4) {
    EXPECT_LT(total_cost(c, encode(c, Closings::kAll)), nearest);
  }
}

TEST_P(PathFeedback, AnyCountGivesEachChainTheSameCodes) {
  const Case all = make_case(GetParam(), 37, 0.2f, 4);
  const std::vector<uint8_t> expected = encode(all, Closings::kNearest);
  for (const int64_t count : {int64_t{1}, int64_t{15}, int64_t{17}}) {
    Case part = all;
    part.count = count;
    part.targets.clear();
    for (int p = 0; p < kChainLength; ++p) {
      const float* row = all.targets.data() + p * all.count;
      part.targets.insert(part.targets.end(), row, row + count);
    }
    const std::vector<uint8_t> codes = encode(part, Closings::kNearest);
    for (int p = 0; p < kChainLength; ++p) {
      for (int64_t i = 0; i < count; ++i) {
        EXPECT_EQ(codes[static_cast<size_t>(p * count + i)],
                  expected[static_cast<size_t>(p * all.count + i)]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, PathFeedback, testing::Values(2, 3, 4));

TEST(PathAssembly, StoresWhatItIsGiven) {
  const PathPalettes palettes = gaussian_fit(3).palettes;
  const int64_t rows = 5;
  const int64_t cols = 200;
  PathAssembly assembly(rows, cols, palettes);
  std::vector<uint8_t> codes(static_cast<size_t>(padded_cols(cols)));
  for (int64_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < codes.size(); ++c) codes[c] = static_cast<uint8_t>((3 * c + 7 * r) % 8);
    assembly.set_row(r, codes.data(), static_cast<float>(r + 1));
  }
  const std::vector<Part> parts = assembly.finish();
  ASSERT_EQ(parts.size(), 3u);
  std::vector<uint8_t> back(codes.size());
  for (int64_t block = 0; block < blocks_of(cols); ++block) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(parts[0].bytes.data());
    unpack_block<3>(bytes + row_offset(4, blocks_of(cols), 3) + block * 3 * kVectorStride,
                    back.data() + block * kBlockColumns);
  }
  EXPECT_EQ(back, codes);  // of the last row
  float scale = 0;
  std::memcpy(&scale, parts[2].bytes.data() + 4 * sizeof(float), sizeof(float));
  EXPECT_EQ(scale, 5.0f);
}

}  // namespace
}  // namespace upg::codec
