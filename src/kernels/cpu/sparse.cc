// Products with sparse matrices: a bitmap and the 4-bit codes of the non-zeros.
//
// Sixteen columns at a time, the next codes go to where the mask has bits; the columns between get
// code 0, whose level is 0. A panel is expanded to bytes, then multiplied like any other.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER
#include "kernels/cpu/float_panel.h"
#include "kernels/cpu/panel.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kMaskBytes = codec::kBlockColumns / 8;

constexpr int kReadAhead = codec::kBlockColumns / 2 + 9;  // bytes a block's reads may touch

// Sixteen 4-bit codes from nibble `nibble` on, the first in the lowest bits; reads 9 bytes.
inline uint64_t codes_at(const uint8_t* codes, int64_t nibble) {
  uint64_t low;
  __builtin_memcpy(&low, codes + nibble / 2, 8);
  const uint64_t high = codes[nibble / 2 + 8];
  return nibble % 2 == 0 ? low : low >> 4 | high << 60;
}

// Reads the 4-bit codes of one row in order, never past the end of its group.
struct CodeReader {
  const uint8_t* codes;
  int64_t nibble;
  int64_t end;  // bytes
};

// One row's block to levels, every 16 columns `stride` bytes apart. Returns how many codes it took.
inline int expand_block(const uint8_t* codes, int64_t nibble, const uint8_t* mask,
                        LevelTable levels, uint8_t* to, int stride) {
  int taken = 0;
  for (int k = 0; k < kVectors; ++k) {
    const uint32_t bits = static_cast<uint32_t>(mask[2 * k] | mask[2 * k + 1] << 8);
    expand_columns(codes_at(codes, nibble + taken), bits, levels, to + k * stride);
    taken += __builtin_popcount(bits);
  }
  return taken;
}

// The reader's next block; near the end of the group from a copy that may be read past it.
inline void next_block(CodeReader& reader, const uint8_t* mask, LevelTable levels, uint8_t* to,
                       int stride) {
  const int64_t at = reader.nibble / 2;
  const int64_t left = reader.end - at;
  if (left >= kReadAhead) {
    reader.nibble += expand_block(reader.codes, reader.nibble, mask, levels, to, stride);
    return;
  }
  uint8_t rest[kReadAhead] = {};
  __builtin_memcpy(rest, reader.codes + at, static_cast<size_t>(left));
  reader.nibble += expand_block(rest, reader.nibble % 2, mask, levels, to, stride);
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
    levels = load_level_table(bytes);
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
        next_block(rows[row], mask + b * kMaskBytes, levels, to + row % kRowsPerVector * 16,
                   kStrandBytes);
      }
    }
  }

  const uint8_t* masks;  // of the panel's first row
  int64_t mask_bytes;    // a row
  LevelTable levels;
  CodeReader rows[kPanelRows];
};

template <class Input>
void multiply_sparse(const codec::SparseMatrix& w, RowRange rows, const Input& x,
                     const Output& out) {
  const int64_t blocks = (x.cols + codec::kBlockColumns - 1) / codec::kBlockColumns;
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

}  // namespace

void matmul_sparse(const codec::SparseMatrix& w, int64_t, RowRange rows, const QuantisedInput& x,
                   const Output& out) noexcept {
  multiply_sparse(w, rows, x, out);
}

void matmul_sparse_float(const codec::SparseMatrix& w, int64_t, RowRange rows, const FloatInput& x,
                         const Output& out) noexcept {
  multiply_sparse(w, rows, x, out);
}

}  // namespace upg::kernels::UPG_ISA
