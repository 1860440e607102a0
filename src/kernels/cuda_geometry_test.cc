// How the CUDA backend cuts work, and what it packs: plain arithmetic, tested without a device.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "codec/path_layout.h"
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
    const auto byte = [&](int n) { return words[n / 4] >> (8 * (n % 4)) & 0xffu; };
    return static_cast<int>(i < 8 ? byte(i) : byte(i) ^ byte(i - 8)) - kLevelOffset;
  };
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(level(palette.a, i), path.level_a[static_cast<size_t>(i)]);
    EXPECT_EQ(level(palette.b, i), path.level_b[static_cast<size_t>(i)]);
  }
}

TEST(CudaGeometry, SharesCoverEveryItemOnce) {
  for (const int grid : {1, 7, 108, 132}) {
    for (const int items : {0, 1, 5, 131, 132, 133, 25088, 64128}) {
      int next = 0;
      int most = 0;
      for (int block = 0; block < grid; ++block) {
        const Share share = share_of(items, block, grid);
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

TEST(CudaGeometry, TilesCoverARowGroup) {
  for (int blocks = 1; blocks < 200; ++blocks) {
    for (const int groups : {1, 10, 16, 68, 191}) {
      const int tiles = tiles_of(blocks, groups);
      EXPECT_GE(tiles, 1);
      const int tile_blocks = (blocks + tiles - 1) / tiles;
      EXPECT_GE(tiles * tile_blocks, blocks);
    }
  }
  EXPECT_EQ(tiles_of(40, 16), 1);   // every warp has one: nothing to gain
  EXPECT_GT(tiles_of(140, 10), 1);  // six warps would have none
}

TEST(CudaGeometry, TokenMemoryIsPlannedOrRefused) {
  const DeviceLimits hopper = {.multiprocessors = 132, .shared_bytes = 227 << 10, .major = 9};
  const TokenMemory plan =
      plan_token_memory({.most_blocks = 140, .most_partials = 600}, 170 << 10, hopper);
  EXPECT_TRUE(plan.fits);
  EXPECT_GE(plan.act_bytes, 140 * (kBlockStride + 8));
  EXPECT_GE(plan.partial_bytes, 600 * 16);
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
      EXPECT_LE((splits - 1) * 128, positions);
    }
  }
  const DeviceLimits limits = {.multiprocessors = 132};
  EXPECT_EQ(attention_splits(10, 100, limits), 1);
  EXPECT_GT(attention_splits(10, 16384, limits), 8);
  EXPECT_EQ(attention_splits(5120, 16384, limits), 1);
}

}  // namespace
}  // namespace upg::kernels::cuda
