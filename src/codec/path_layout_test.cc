#include "codec/path_layout.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace upg::codec {
namespace {

// Where bit `bit` of a column's code lies, straight from the table of the format: the vector, its
// byte and the bit in it.
struct Place {
  int vector, byte, bit;
};

Place place_of(int bits, int column, int bit) {
  const int byte = column % 16;
  if (bits == 2) return {column / 64, byte, column % 64 / 16 * 2 + bit};
  if (bits == 4) return {column / 32, byte, column % 32 / 16 * 4 + bit};
  if (column < 96) return {column / 32, byte, column % 32 / 16 * 4 + bit};
  return {bit, byte, column < 112 ? 3 : 7};
}

template <int kBits>
void check_every_bit() {
  for (int column = 0; column < kBlockColumns; ++column) {
    for (int code = 0; code < 1 << kBits; ++code) {
      uint8_t codes[kBlockColumns] = {};
      codes[column] = static_cast<uint8_t>(code);
      std::vector<uint8_t> packed(kBits * kVectorStride);
      pack_block<kBits>(codes, packed.data());
      std::vector<uint8_t> want(kBits * kVectorStride);
      for (int bit = 0; bit < kBits; ++bit) {
        const Place place = place_of(kBits, column, bit);
        want[place.vector * 64 + place.byte] |=
            static_cast<uint8_t>((code >> bit & 1) << place.bit);
      }
      ASSERT_EQ(packed, want) << "column " << column << " code " << code;
      uint8_t back[kBlockColumns];
      unpack_block<kBits>(packed.data(), back);
      ASSERT_TRUE(std::equal(codes, codes + kBlockColumns, back));
    }
  }
}

template <int kBits>
void check_random_blocks() {
  std::mt19937 random(kBits);
  for (int repeat = 0; repeat < 100; ++repeat) {
    uint8_t codes[kBlockColumns], back[kBlockColumns];
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random() & ((1 << kBits) - 1));
    std::vector<uint8_t> packed(kBits * kVectorStride, 0xee);
    pack_block<kBits>(codes, packed.data());
    unpack_block<kBits>(packed.data(), back);
    ASSERT_TRUE(std::equal(codes, codes + kBlockColumns, back));
    // The other rows' vectors in between stay as they were.
    for (int i = 0; i < kBits * kVectorStride; ++i) {
      if (i % kVectorStride < kVectorBytes) continue;
      ASSERT_EQ(packed[i], 0xee);
    }
  }
}

TEST(PathLayout, EveryBitOf2) { check_every_bit<2>(); }
TEST(PathLayout, EveryBitOf3) { check_every_bit<3>(); }
TEST(PathLayout, EveryBitOf4) { check_every_bit<4>(); }

TEST(PathLayout, RandomBlocks) {
  check_random_blocks<2>();
  check_random_blocks<3>();
  check_random_blocks<4>();
}

TEST(PathLayout, ChainsAreClosedAndCoverTheBlock) {
  std::vector<int> seen(kBlockColumns);
  for (int g = 0; g < 4; ++g) {
    for (int h = 0; h < 2; ++h) {
      for (int j = 0; j < 4; ++j) {
        for (int b = 0; b < 4; ++b) {
          const int column = 32 * g + 16 * h + 4 * j + b;
          const int chain = 4 * h + b, position = 4 * j + g;
          EXPECT_EQ(column_of(chain, position), column);
          EXPECT_EQ(column_before(column), column_of(chain, (position + 15) % 16));
          ++seen[column];
        }
      }
    }
  }
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
}

TEST(PathLayout, RowsOfAGroupLieInterleaved) {
  EXPECT_EQ(row_offset(0, 3, 4), 0);
  EXPECT_EQ(row_offset(1, 3, 4), 16);
  EXPECT_EQ(row_offset(3, 3, 4), 48);
  EXPECT_EQ(row_offset(4, 3, 4), 3 * 4 * 64);
  EXPECT_EQ(row_offset(9, 5, 2), 2 * 5 * 2 * 64 + 16);
}

}  // namespace
}  // namespace upg::codec
