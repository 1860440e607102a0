// How the CUDA backend cuts work, and what it packs: plain arithmetic, tested without a device.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "codec/path_layout.h"
#include "kernels/cuda/choice_math.h"
#include "kernels/cuda/few_plan.h"
#include "kernels/cuda/geometry.h"
#include "kernels/cuda/token_program.h"
#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {
namespace {

TEST(CudaGeometry, PermutedBytesMeetTheirColumns) {
  std::set<int> bytes;
  for (int column = 0; column < 128; ++column) {
    const int byte = permuted_byte(column);
    EXPECT_TRUE(byte >= 0 && byte < 128);
    bytes.insert(byte);
    // The code before lies one place of g earlier: the same word, eight bytes before; for the first
    // g the last one of the word before.
    const int before = permuted_byte(codec::column_before(column));
    EXPECT_EQ(before, column >= 32 ? byte - 8 : (byte + 96 + 24) % 128) << column;
  }
  EXPECT_EQ(bytes.size(), 128u);
}

TEST(CudaGeometry, PalettesHoldEveryLevel) {
  codec::PathMatrix path;
  for (int i = 0; i < 16; ++i) {
    path.level_a[static_cast<size_t>(i)] = static_cast<int8_t>(8 * i - 63);
    path.level_b[static_cast<size_t>(i)] = static_cast<int8_t>(5 - i);
  }
  const Palette palette = make_palette(path);
  const auto level = [](const uint32_t(&words)[4], int i) {
    return static_cast<int>(words[i / 4] >> (8 * (i % 4)) & 0xffu) - kLevelOffset;
  };
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(level(palette.a, i), path.level_a[static_cast<size_t>(i)]);
    EXPECT_EQ(level(palette.b, i), path.level_b[static_cast<size_t>(i)]);
  }
}

TEST(CudaGeometry, TilesHoldTheirRows) {
  for (int64_t rows = 1; rows < 700; ++rows) {
    const int64_t tiled = tiled_rows_of(rows);
    EXPECT_GE(tiled, rows);
    EXPECT_EQ(tiled % 8, 0);
    EXPECT_LT(tiled, rows <= kTileRows ? std::max<int64_t>(2 * rows, 9) : rows + kTileRows);
    EXPECT_TRUE(rows <= kTileRows / 2 || tiled % kTileRows == 0);
  }
}

// The largest sums there are, with the levels' offset of 128.
TEST(CudaGeometry, TileSumsBecomeFloatsExactly) {
  for (const int32_t level : {-127, -63, -1, 0, 1, 63, 127}) {
    for (const int32_t q : {-127, -126, -1, 0, 1, 127}) {
      const uint32_t biased = static_cast<uint32_t>(128 * (level + 128) * q);
      const float sum = std::bit_cast<float>(biased + tile_start(128 * q)) - kTileZero;
      EXPECT_EQ(sum, static_cast<float>(128 * level * q));
    }
  }
}

TEST(CudaGeometry, SharesCoverEveryItemOnce) {
  for (const int grid : {1, 7, 108, 132}) {
    for (const int items : {0, 1, 5, 131, 132, 133, 25088, 64128}) {
      int next = 0;
      int most = 0;
      for (int block = 0; block < grid; ++block) {
        const Span share = span_of(items, block, grid);
        EXPECT_EQ(share.begin, next);
        EXPECT_GE(share.end, share.begin);
        most = std::max(most, share.end - share.begin);
        next = share.end;
      }
      EXPECT_EQ(next, items);
      EXPECT_LE(most, (items + grid - 1) / grid);
    }
  }
}

// Those of one group side by side: a sum takes all from the first to the last.
TEST(CudaGeometry, EveryPieceOfARowGroupHasAPartialOfItsOwn) {
  for (const int blocks : {1, 7, 8, 9, 21, 40, 140}) {
    for (const int groups : {1, 2, 3, 4, 10, 68, 191, 2000}) {
      const int group_chunks = chunks_of(blocks);
      const int chunks = groups * group_chunks;
      int before = -1;
      for (int chunk = 0; chunk < chunks; ++chunk) {
        const int warp = warp_of(chunk, chunk_share(chunks));
        const Span share = warp_range(chunks, warp);
        ASSERT_GE(chunk, share.begin);
        ASSERT_LT(chunk, share.end);
        const int partial = warp + chunk / group_chunks;
        const bool begins = chunk % group_chunks == 0 || chunk == share.begin;
        ASSERT_EQ(partial > before, begins);
        if (begins && chunk % group_chunks != 0) {
          ASSERT_EQ(partial, before + 1);
        }
        before = partial;
      }
      EXPECT_LT(before, partials_of(groups));
    }
  }
}

TEST(CudaGeometry, TokenMemoryIsPlannedOrRefused) {
  const DeviceLimits hopper = {.multiprocessors = 132, .shared_bytes = 227 << 10, .major = 9};
  const TokenMemory plan =
      plan_token_memory({.most_blocks = 300, .most_groups = 100}, 170 << 10, hopper);
  EXPECT_TRUE(plan.fits);
  EXPECT_GE(plan.act_bytes, 300 * kBlockStride);
  EXPECT_GE(plan.partial_bytes, 4 * row_floats_of(100));
  EXPECT_EQ(plan.act_bytes % 128, 0);
  EXPECT_FALSE(plan_token_memory({.most_blocks = 900}, 170 << 10, hopper).fits);
  const DeviceLimits small = {.multiprocessors = 20, .shared_bytes = 48 << 10};
  EXPECT_FALSE(plan_token_memory({.most_blocks = 1}, 170 << 10, small).fits);
}

TEST(CudaGeometry, SplitsNeverExceedTheDevice) {
  for (const int units : {1, 3, 10, 40, 132, 500}) {
    for (const int positions : {1, 32, 512, 16384}) {
      const int splits = token_splits(units, positions, 132);
      EXPECT_GE(splits, 1);
      EXPECT_LE(splits * units, std::max(units, 132));
      EXPECT_LE((splits - 1) * 32, positions);
    }
  }
  const DeviceLimits limits = {.multiprocessors = 132};
  EXPECT_EQ(attention_splits(10, 100, limits), 1);
  EXPECT_GT(attention_splits(10, 16384, limits), 8);
  EXPECT_EQ(attention_splits(5120, 16384, limits), 1);
}

TEST(CudaChoice, BetterTokensHaveLargerKeys) {
  const float most = std::numeric_limits<float>::max();
  const std::vector<std::pair<float, int32_t>> best_first = {
      {most, 9},  {2.5f, 0},    {2.5f, 7}, {1e-40f, 3}, {0.0f, 1},
      {-0.0f, 2}, {-1e-40f, 0}, {-3, 4},   {-3, 5},     {-most, 6}};
  uint64_t before = ~uint64_t{0};
  for (const auto& [logit, id] : best_first) {
    const uint64_t key = token_key(std::bit_cast<uint32_t>(logit), id);
    EXPECT_LT(key, before) << logit;
    EXPECT_GT(key, 0u);
    EXPECT_EQ(key_id(key), id);
    EXPECT_EQ(std::bit_cast<float>(key_logit_bits(key)), logit);
    before = key;
  }
}

TEST(CudaChoice, BinsNeverDecreaseAsLogitsFall) {
  for (const float largest : {20.0f, -5.0f, 0.0f, 3e38f}) {
    EXPECT_EQ(bin_of(largest, largest), 0);
    int before = 0;
    for (float below = 1e-6f; below < 3e38f; below *= 1.01f) {
      const int bin = bin_of(largest - below, largest);
      EXPECT_GE(bin, before);
      EXPECT_LT(bin, kBins);
      before = bin;
    }
    EXPECT_EQ(bin_of(-std::numeric_limits<float>::max(), largest), kBins - 1);
  }
}

TEST(CudaChoice, AVocabularyOfWeightsDoesNotOverflow) {
  for (const int64_t vocabulary : {1, 2, 3, 8192, 100352, 200064, 1 << 30}) {
    const uint64_t one = uint64_t{1} << weight_bits(vocabulary);
    EXPECT_LE(static_cast<uint64_t>(vocabulary), (uint64_t{1} << 63) / one);
    EXPECT_GE(static_cast<uint64_t>(2 * vocabulary), (uint64_t{1} << 62) / one);
  }
}

TEST(CudaChoice, DrawsArePlacesBelowTheTotal) {
  const uint64_t most = (uint64_t{1} << 53) - 1;
  for (const uint64_t total : {uint64_t{1}, uint64_t{7}, uint64_t{1} << 40,
                               (uint64_t{1} << 62) + 12345, (uint64_t{1} << 63) - 1}) {
    EXPECT_EQ(draw_place(0, total), 0u);
    EXPECT_EQ(draw_place(most, total), total - 1 - (total >> 53));
    EXPECT_EQ(draw_place(uint64_t{1} << 52, total), total / 2);
    EXPECT_EQ(draw_place(uint64_t{3} << 51, total), total - total / 4 - (total % 4 != 0));
  }
}

DeviceLimits hopper() {
  DeviceLimits limits;
  limits.multiprocessors = 132;
  limits.shared_bytes = 227 << 10;
  return limits;
}

TEST(CudaGeometry, EveryStageIsOneWarps) {
  for (int stages = 1; stages < 300; ++stages) {
    int next = 0;
    for (int warp = 0; warp < kFewWarps; ++warp) {
      const Span span = span_of(stages, warp, kFewWarps);
      EXPECT_EQ(span.begin, next);
      for (next = span.begin; next < span.end; ++next) {
        EXPECT_EQ(part_of(stages, next, kFewWarps), warp);
      }
    }
    EXPECT_EQ(next, stages);
  }
}

TEST(CudaGeometry, ProductsOfAFewInputsFit) {
  const DeviceLimits limits = hopper();
  for (const int inputs : {8, 16, 32}) {
    for (const int vectors : {2, 3, 4, 8}) {
      for (const int rows : {1, 17, 640, 5120, 35840, 100352}) {
        for (const int blocks : {1, 3, 40, 140}) {
          const int tiles = (rows + kFewTileRows - 1) / kFewTileRows;
          const FewPlan plan = plan_few({tiles, blocks, inputs, vectors, false}, limits);
          if (!plan.fits) continue;  // multiply_on_hopper() takes it
          EXPECT_LE(plan.shared_bytes, limits.shared_bytes);
          EXPECT_LE(plan.slices, blocks);
          EXPECT_LE(plan.groups * plan.slices, limits.multiprocessors);
          const Span last = span_of(tiles, plan.groups - 1, plan.groups);
          EXPECT_EQ(last.end, tiles);
          EXPECT_GT(last.end, last.begin);
          const int units = (plan.slots_at - plan.ended_at) / few_piece_bytes(inputs);
          for (int group = 0; group < plan.groups; ++group) {
            const Span own = span_of(tiles, group, plan.groups);
            EXPECT_LE(own.end - own.begin, units * few_unit_tiles(inputs));
          }
          EXPECT_GE(plan.ended_at,
                    (blocks + plan.slices - 1) / plan.slices * few_block_bytes(inputs));
          EXPECT_GE(plan.ended_at, kFewWarps * few_piece_bytes(inputs));
        }
      }
    }
  }
}

// So that one of those who add to a block's count finds it whole.
TEST(CudaGeometry, TilesOfGateAndUpMakeWholeBlocks) {
  for (const int blocks : {4, 21, 140}) {
    const int tiles = blocks * kGatedTiles;
    for (const int groups : {1, 5, 114, 132}) {
      std::vector<int> counts(static_cast<size_t>(blocks));
      for (int group = 0; group < std::min(groups, tiles); ++group) {
        const Span own = span_of(tiles, group, std::min(groups, tiles));
        const Span touched = gated_blocks(own);
        EXPECT_LE(touched.end - touched.begin, most_gated_blocks(tiles, std::min(groups, tiles)));
        for (int block = touched.begin; block < touched.end; ++block) {
          EXPECT_GT(gated_tiles_of(own, block), 0);
          counts[static_cast<size_t>(block)] += gated_tiles_of(own, block);
        }
      }
      for (const int count : counts) EXPECT_EQ(count, kGatedTiles);
    }
  }
}

TEST(CudaGeometry, GroupsOfWholeBlocksAreBlocks) {
  for (const int blocks : {2, 6, 40}) {
    const FewPlan plan = plan_few({8 * blocks, 140, 8, 3, true}, hopper());
    EXPECT_TRUE(plan.fits);
    EXPECT_EQ(plan.groups, blocks);
    EXPECT_LE(plan.groups * plan.slices, hopper().multiprocessors);
  }
}

FewAttentionPlan attention_plan(const std::vector<int32_t>& positions, int kv_heads, int window) {
  return plan_few_attention(positions, kv_heads, window, 132);
}

TEST(CudaGeometry, AttentionOfAFewSequencesFillsTheDevice) {
  const auto same = [](int tokens, int position) {
    return std::vector<int32_t>(static_cast<size_t>(tokens), position);
  };
  EXPECT_EQ(attention_plan(same(2, 29), 10, 0).items, 20);
  EXPECT_EQ(attention_plan(same(2, 29), 10, 0).blocks, 20);
  EXPECT_EQ(attention_plan(same(8, 511), 10, 0).items, 390);
  EXPECT_EQ(attention_plan(same(8, 511), 10, 0).blocks, 132);
  EXPECT_EQ(attention_plan(same(32, 511), 10, 0).items, 390);
  EXPECT_EQ(attention_plan(same(32, 511), 32, 0).items, 1024);
  EXPECT_EQ(attention_plan(same(32, 511), 32, 0).blocks, 342);
  EXPECT_EQ(attention_plan(same(2, 16383), 10, 100).items, 40);
  EXPECT_EQ(attention_plan(same(32, 511), 64, 0).items, 2048);
}

TEST(CudaGeometry, OneLongSequenceIsDividedWhereOthersAreLeftWhole) {
  std::vector<int32_t> positions(31, 511);
  positions.push_back(8191);
  const FewAttentionPlan mixed = attention_plan(positions, 10, 0);
  EXPECT_LE(mixed.items, 400);
  EXPECT_GE(mixed.item_tiles, 32);
  EXPECT_LE(mixed.item_tiles, 64);
}

TEST(CudaGeometry, ItemsOfAttentionCoverWhatATokenSees) {
  for (const int window : {0, 1, 16, 100}) {
    for (int position = 0; position < 300; ++position) {
      const Span all = attention_tiles(position, window);
      const int first = window > 0 ? std::max(0, position - window + 1) : 0;
      EXPECT_LE(all.begin * kAttentionTile, first);
      EXPECT_GT((all.begin + 1) * kAttentionTile, first);
      EXPECT_LE((all.end - 1) * kAttentionTile, position);
      EXPECT_GT(all.end * kAttentionTile, position);
      for (const int most : {1, 4, 7}) {
        const int parts = attention_parts(all, most);
        for (int i = 0; i < parts; ++i) {
          const Span own = span_of(all.end - all.begin, i, parts);
          EXPECT_GT(own.end, own.begin);
          EXPECT_LE(own.end - own.begin, most);
        }
      }
    }
  }
}

}  // namespace
}  // namespace upg::kernels::cuda
