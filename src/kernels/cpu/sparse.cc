// Products with sparse matrices: a bitmap and the 4-bit codes of the non-zeros.
//
// A row's codes of a block go to the columns where its mask has bits; the columns between get code
// 0, whose level is 0. Few inputs meet a group of rows as it is expanded, with registers along the
// columns of a row; many meet panels, like those of any other codec.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER
#include "kernels/cpu/float_panel.h"
#include "kernels/cpu/panel.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kColumns = codec::kBlockColumns;
constexpr int kMaskBytes = kColumns / 8;
constexpr int kRows = codec::kGroupRows;
constexpr int kRegisterColumns = static_cast<int>(sizeof(Ints));
constexpr int kRowVectors = kColumns / kRegisterColumns;  // a row's block
constexpr int kRowsAtOnce = kRowVectors == 2 ? 4 : 2;     // what the registers hold of them

int64_t count_bits(const uint8_t* bytes, int64_t n) {  // n: a multiple of 8
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += 8) {
    uint64_t word;
    __builtin_memcpy(&word, bytes + i, 8);
    count += __builtin_popcountll(word);
  }
  return count;
}

// Expands the rows of a group from left to right.
struct GroupReader {
  GroupReader() = default;
  // end: where the rows end that may be read.
  GroupReader(const codec::SparseMatrix& w, int64_t blocks, int64_t row, int64_t end)
      : masks(w.masks + row * blocks * kMaskBytes),
        mask_bytes(blocks * kMaskBytes),
        codes(w.codes),
        code_bytes(w.offsets[(end + kRows - 1) / kRows]),
        near_end(w.offsets[row / kRows + 1] + kExpandReads > code_bytes) {
    next[0] = 2 * static_cast<uint64_t>(w.offsets[row / kRows]);
    for (int r = 1; r < kRows; ++r) {
      next[r] = next[r - 1] + count_bits(masks + (r - 1) * mask_bytes, mask_bytes);
    }
  }

  // The next block of every row. kNearEnd: reads nothing past the end of the codes.
  template <bool kNearEnd>
  inline __attribute__((always_inline)) void expand(int64_t block, RowCodes (&to)[kRows]) {
    uint8_t rest[kNearEnd ? kRows : 1][kExpandReads];
    for (int r = 0; r < kRows; ++r) {
      const uint64_t at = next[r] / 2;
      read_codes(kNearEnd ? copy(at, rest[kNearEnd ? r : 0]) : codes + at, to[r]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const uint8_t* mask = masks + r * mask_bytes + block * kMaskBytes;
      next[r] += expand_codes(static_cast<uint32_t>(next[r] % 2), mask, to[r]);
    }
  }

  // What is left of the codes from `at` on, then zeros.
  const uint8_t* copy(uint64_t at, uint8_t (&to)[kExpandReads]) const {
    const uint64_t left = code_bytes - at;
    __builtin_memset(to, 0, kExpandReads);
    __builtin_memcpy(to, codes + at, left < kExpandReads ? left : kExpandReads);
    return to;
  }

  const uint8_t* masks;  // of the group's first row
  int64_t mask_bytes;    // a row
  const uint8_t* codes;
  uint64_t code_bytes;
  bool near_end;         // expansion could read past code_bytes
  uint64_t next[kRows];  // nibble of `codes`
};

Ints level_table(const codec::SparseMatrix& w) {
  uint8_t bytes[16];
  const int8_t* level = reinterpret_cast<const int8_t*>(&w.level);
  for (int i = 0; i < 16; ++i) bytes[i] = static_cast<uint8_t>(level[i] + SmallLevels::kOffset);
  return load_for_all_rows(bytes);
}

// ---- few inputs --------------------------------------------------------------------------------

struct SparseProduct {
  const codec::SparseMatrix& w;
  int64_t end;  // row
  const QuantisedInput& x;
  const Output& out;
};

// kRowsAtOnce rows of a block times every input of the tile. sums: [tokens, kRows], added to.
inline __attribute__((always_inline)) void multiply_rows(const Ints (&w)[kRowsAtOnce][kRowVectors],
                                                         const QuantisedInput& x, int64_t tokens,
                                                         int64_t block, Floats* sums) {
  for (int64_t t = 0; t < tokens; ++t) {
    const int8_t* q = x.q + t * x.cols + block * kColumns;
    const int64_t at = t * (x.cols / kColumns) + block;
    Ints dots[kRowsAtOnce];
    for (Ints& dot : dots) dot = first_lane(x.start[4 * at]);
    for (int k = 0; k < kRowVectors; ++k) {
      const Ints activations = load_bytes(q + k * kRegisterColumns);
      for (int r = 0; r < kRowsAtOnce; ++r) {
        dots[r] = SmallLevels::dot(dots[r], w[r][k], activations);
      }
    }
    const Floats scale = splat(x.scale[at]);
    for (int r = 0; r < kRowsAtOnce; ++r) {
      sums[t * kRows + r] = multiply_add(to_floats(dots[r]), scale, sums[t * kRows + r]);
    }
  }
}

void store_group(Quad sums, const SparseProduct& p, int64_t row, int64_t token) {
  float values[kRows];
  store_quad(values, sums);
  float* y = p.out.y + token * p.out.stride + row;
  for (int r = 0; r < kRows && row + r < p.end; ++r) {
    const float value = values[r] * (1.0f / 63.0f) * p.w.scale[row + r];
    y[r] = p.out.store == Store::kAdd ? y[r] + value : value;
  }
}

// The group of rows from `row` on times at most kTileTokens inputs, kTokens where the compiler
// should know them, else 0.
template <int kTokens, bool kNearEnd>
void multiply_group(const SparseProduct& p, GroupReader reader, int64_t row) {
  const int64_t tokens = kTokens > 0 ? kTokens : p.x.rows;
  const Ints levels = level_table(p.w);
  Floats sums[(kTokens > 0 ? kTokens : kTileTokens) * kRows];
  for (Floats& sum : sums) sum = zeros();
  for (int64_t block = 0; block < p.x.cols / kColumns; ++block) {
    RowCodes codes[kRows];
    reader.expand<kNearEnd>(block, codes);
#pragma GCC unroll 4
    for (int first = 0; first < kRows; first += kRowsAtOnce) {
      Ints w[kRowsAtOnce][kRowVectors];
      for (int r = 0; r < kRowsAtOnce; ++r) {
        for (int k = 0; k < kRowVectors; ++k) w[r][k] = codes[first + r].levels(k, levels);
      }
      multiply_rows(w, p.x, tokens, block, sums + first);
    }
  }
  for (int64_t t = 0; t < tokens; ++t) {
    const Floats* of_token = sums + t * kRows;
    store_group(sums_of_four(of_token[0], of_token[1], of_token[2], of_token[3]), p, row, t);
  }
}

template <int kTokens>
void stream_groups(const SparseProduct& p, int64_t begin) {
  const int64_t blocks = p.x.cols / kColumns;
  for (int64_t row = begin; row < p.end; row += kRows) {
    const GroupReader reader(p.w, blocks, row, p.end);
    if (reader.near_end) {
      multiply_group<kTokens, true>(p, reader, row);
    } else {
      multiply_group<kTokens, false>(p, reader, row);
    }
  }
}

// ---- many inputs -------------------------------------------------------------------------------

// Blocks [block, block + blocks) of the group that is the `group`th of the panel, whose vectors
// take 16 columns of a row.
void expand_group(GroupReader& reader, Ints levels, int group, int64_t block, int64_t blocks,
                  Panel& panel) {
  for (int64_t b = 0; b < blocks; ++b) {
    RowCodes codes[kRows];
    if (reader.near_end) {
      reader.expand<true>(block + b, codes);
    } else {
      reader.expand<false>(block + b, codes);
    }
    for (int r = 0; r < kRows; ++r) {
      alignas(64) uint8_t stored[kColumns];
      for (int k = 0; k < kRowVectors; ++k) {
        store_bytes(stored + k * kRegisterColumns, codes[r].levels(k, levels));
      }
      const int row = group * kRows + r;
      uint8_t* to =
          reinterpret_cast<uint8_t*>(panel.w[row / kRowsPerVector][b]) + row % kRowsPerVector * 16;
      for (int k = 0; k < kVectors; ++k) {
        __builtin_memcpy(to + k * kStrandBytes, stored + 16 * k, 16);
      }
    }
  }
}

template <class Input>
void multiply_panels(const codec::SparseMatrix& w, RowRange rows, const Input& x,
                     const Output& out) {
  constexpr int kGroups = kPanelRows / kRows;
  const int64_t blocks = (x.cols + kColumns - 1) / kColumns;
  const Ints levels = level_table(w);
  Panel panel;
  for (int64_t row = rows.begin; row < rows.end; row += kPanelRows) {
    const PanelRows part = {row, rows.end, w.scale, 1.0f / 63.0f};
    GroupReader readers[kGroups];
    for (int g = 0; g < kGroups; ++g) {
      readers[g] = GroupReader(w, blocks, row + g * kRows, rows.end);
    }
    for (int64_t block = 0; block < blocks; block += kPanelBlocks) {
      const int64_t left = blocks - block;
      const int64_t count = left < kPanelBlocks ? left : kPanelBlocks;
      for (int g = 0; g < kGroups; ++g) expand_group(readers[g], levels, g, block, count, panel);
      multiply_panel<SmallLevels>(panel, block, count, x, part, out);
    }
  }
}

}  // namespace

void matmul_sparse(const codec::SparseMatrix& w, int64_t, RowRange rows, const QuantisedInput& x,
                   const Output& out) noexcept {
  if (x.rows > kTileTokens) return multiply_panels(w, rows, x, out);
  const SparseProduct product = {w, rows.end, x, out};
  if (x.rows == 1) return stream_groups<1>(product, rows.begin);
  stream_groups<0>(product, rows.begin);
}

void matmul_sparse_float(const codec::SparseMatrix& w, int64_t, RowRange rows, const FloatInput& x,
                         const Output& out) noexcept {
  multiply_panels(w, rows, x, out);
}

}  // namespace upg::kernels::UPG_ISA
