// Products with sparse matrices: a bitmap and the 4-bit codes of the non-zeros.
//
// Sixteen columns at a time, pdep spreads the next codes to where the mask has bits; the columns
// between get code 0, whose level is 0. A panel is expanded to bytes, then multiplied like any
// other.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER
#include "kernels/cpu/panel.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kMaskBytes = codec::kBlockColumns / 8;

// Reads 4-bit codes of one row in order, never past the end of its group.
struct CodeReader {
  const uint8_t* codes;
  int64_t nibble;
  int64_t end;  // bytes

  // The next 16 codes, first in the lowest bits; what lies past the end is undefined or 0.
  inline uint64_t peek() const {
    uint8_t bytes[16] = {};
    const uint8_t* at = codes + nibble / 2;
    const int64_t left = end - nibble / 2;
    __builtin_memcpy(bytes, at, left >= 9 ? 9 : static_cast<size_t>(left));
    uint64_t low;
    __builtin_memcpy(&low, bytes, 8);
    if (nibble % 2 == 0) return low;
    return low >> 4 | static_cast<uint64_t>(bytes[8]) << 60;
  }
};

// Codes of 16 columns as bytes, 0 where the mask has none.
inline __m128i spread(uint64_t codes, uint64_t mask) {
  const uint64_t nibbles = _pdep_u64(mask, 0x1111111111111111u) * 15;
  const __m128i packed = _mm_cvtsi64_si128(static_cast<int64_t>(_pdep_u64(codes, nibbles)));
  const __m128i low_bits = _mm_set1_epi8(0x0f);
  return _mm_unpacklo_epi8(_mm_and_si128(packed, low_bits),
                           _mm_and_si128(_mm_srli_epi16(packed, 4), low_bits));
}

// One row's block to levels, every 16 columns `stride` bytes apart.
inline void expand_block(CodeReader& reader, const uint8_t* mask, __m128i levels, uint8_t* to,
                         int stride) {
  for (int k = 0; k < kVectors; ++k) {
    const uint32_t bits = static_cast<uint32_t>(mask[2 * k] | mask[2 * k + 1] << 8);
    const __m128i codes = spread(reader.peek(), bits);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + k * stride), _mm_shuffle_epi8(levels, codes));
    reader.nibble += __builtin_popcount(bits);
  }
}

int64_t count_bits(const uint8_t* bytes, int64_t n) {  // n: a multiple of 8
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += 8) {
    uint64_t word;
    __builtin_memcpy(&word, bytes + i, 8);
    count += __builtin_popcountll(word);
  }
  return count;
}

// Expands the rows of a panel from left to right.
struct PanelReader {
  PanelReader(const codec::SparseMatrix& w, int64_t blocks, int64_t first_row)
      : masks(w.masks + first_row * blocks * kMaskBytes), mask_bytes(blocks * kMaskBytes) {
    uint8_t bytes[16];
    const int8_t* level = reinterpret_cast<const int8_t*>(&w.level);
    for (int i = 0; i < 16; ++i) bytes[i] = static_cast<uint8_t>(level[i] + SmallLevels::kOffset);
    levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
    for (int row = 0; row < kPanelRows; ++row) {
      const int64_t group = (first_row + row) / codec::kGroupRows;
      const int64_t begin =
          row % codec::kGroupRows == 0
              ? 2 * static_cast<int64_t>(w.offsets[group])
              : rows[row - 1].nibble + count_bits(masks + (row - 1) * mask_bytes, mask_bytes);
      rows[row] = {w.codes, begin, w.offsets[group + 1]};
    }
  }

  void expand(int64_t block, int64_t blocks, Panel& panel) {
    for (int row = 0; row < kPanelRows; ++row) {
      const uint8_t* mask = masks + row * mask_bytes + block * kMaskBytes;
      for (int64_t b = 0; b < blocks; ++b) {
        uint8_t* to = reinterpret_cast<uint8_t*>(panel.w[row / kRowsPerVector][b]);
        expand_block(rows[row], mask + b * kMaskBytes, levels, to + row % kRowsPerVector * 16,
                     kStrandBytes);
      }
    }
  }

  const uint8_t* masks;  // of the panel's first row
  int64_t mask_bytes;    // a row
  __m128i levels;
  CodeReader rows[kPanelRows];
};

}  // namespace

void matmul_sparse(const codec::SparseMatrix& w, int64_t, RowRange rows, const QuantisedInput& x,
                   const Output& out) noexcept {
  const int64_t blocks = x.cols / codec::kBlockColumns;
  Panel panel;
  for (int64_t row = rows.begin; row < rows.end; row += kPanelRows) {
    PanelReader reader(w, blocks, row);
    const PanelRows part = {row, rows.end, w.scale, 1.0f / 63.0f};
    for (int64_t block = 0; block < blocks; block += kPanelBlocks) {
      const int64_t left = blocks - block;
      const int64_t count = left < kPanelBlocks ? left : kPanelBlocks;
      reader.expand(block, count, panel);
      multiply_panel<SmallLevels>(panel, block, count, x, part, out);
    }
  }
}

}  // namespace upg::kernels::UPG_ISA
