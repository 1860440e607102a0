// sparse: a bit a weight says whether it is stored, stored ones have a 4-bit code. Never rotated.
//
//   weight = mask bit ? scale[row] * level(palette[0][code]) / 63 : 0
//
// codes    U8  [n]                          4-bit codes of the stored weights, low nibble first,
// row
//                                           by row; a group of 4 rows starts at a byte; n is the
//                                           last offset rounded up to 64; what is not a code is
//                                           zero
// mask     U8  [padded_rows, blocks, 16]    bit c % 8 of byte c / 8 of a block: its column c
// offsets  U32 [padded_rows / 4 + 1]        where each row group's codes start, in bytes
// palette  U16 [2, 16]                      entry 0 and the whole second palette have level 0
// scale    F32 [rows]
#include "codec/sparse.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "codec/bind_check.h"
#include "codec/decode.h"
#include "codec/primes.h"
#include "codec/prune.h"

namespace upg::codec {
namespace {

using base::DType;

constexpr int kMaskBytes = kBlockColumns / 8;  // a row and block

int64_t count_bits(const uint8_t* bytes, int64_t size) noexcept {  // size: a multiple of 8
  int64_t count = 0;
  for (int64_t i = 0; i < size; i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes + i, 8);
    count += std::popcount(word);
  }
  return count;
}

std::vector<PartSpec> parts(int64_t rows, int64_t cols, const EncodeOptions& options) {
  return sparse_parts(rows, cols,
                      options.stored_weights
                          ? (*options.stored_weights + 1) / 2
                          : sparse_code_bytes(rows, kept_columns(cols, options.sparsity)));
}

std::unique_ptr<Encoder> encoder(int64_t rows, int64_t cols, int64_t stored_cols,
                                 const EncodeOptions& options) {
  return make_sparse_encoder(rows, cols, stored_cols, options);
}

// Nothing may be stored in columns that the matrix does not have.
void check_mask_tail(const StoredMatrix& stored, int64_t row, const uint8_t* mask) {
  const int64_t used = stored.cols % kBlockColumns;
  if (used == 0) return;
  const uint8_t* block = mask + (blocks_of(stored.cols) - 1) * kMaskBytes;
  uint8_t beyond = static_cast<uint8_t>(used % 8 == 0 ? 0 : block[used / 8] >> (used % 8));
  for (int64_t i = (used + 7) / 8; i < kMaskBytes; ++i) beyond |= block[i];
  if (beyond != 0) {
    reject(stored, "mask", fmt::format("a weight beyond the last column in row {}", row),
           fmt::format("columns below {}", stored.cols));
  }
}

// The number of weights stored in a row.
int64_t check_mask_row(const StoredMatrix& stored, int64_t row, const uint8_t* mask) {
  const int64_t row_bytes = blocks_of(stored.cols) * kMaskBytes;
  const int64_t count = count_bits(mask + row * row_bytes, row_bytes);
  if (row < stored.rows) {
    check_mask_tail(stored, row, mask + row * row_bytes);
  } else if (count != 0) {
    reject(stored, "mask", fmt::format("{} weights in padding row {}", count, row), "none");
  }
  return count;
}

// Each row group's codes must be as many as its mask bits, and lie without gaps. Returns the last
// offset.
uint64_t check_offsets(const StoredMatrix& stored, const uint8_t* mask, const uint32_t* offsets,
                       const base::TensorView& codes) {
  uint64_t expected = 0;
  for (int64_t group = 0; group <= padded_rows(stored.rows) / kGroupRows; ++group) {
    if (offsets[group] != expected) {
      reject(stored, "offsets", fmt::format("{} for row group {}", offsets[group], group),
             fmt::format("{}, as the masks say", expected));
    }
    if (group == padded_rows(stored.rows) / kGroupRows) break;
    int64_t count = 0;
    for (int r = 0; r < kGroupRows; ++r) {
      count += check_mask_row(stored, group * kGroupRows + r, mask);
    }
    expected += static_cast<uint64_t>(count + 1) / 2;
    if (expected > codes.bytes.size()) {
      reject(stored, "codes", fmt::format("{} bytes", codes.bytes.size()),
             fmt::format("at least {}, up to row group {}", expected, group));
    }
    if (count % 2 == 1 && (codes.data<uint8_t>()[expected - 1] >> 4) != 0) {
      reject(stored, "codes", fmt::format("a code after the last of row group {}", group), "zero");
    }
  }
  return expected;
}

void check_palette(const StoredMatrix& stored, const PartSpec& spec, SparseMatrix& matrix) {
  const auto* entries = require_part(stored, spec, alignof(uint16_t)).data<uint16_t>();
  std::array<int8_t, 16> second = {};
  read_palettes(stored, spec.suffix, entries, 16, matrix.level.data(), second.data());
  if (matrix.level[0] != 0 || second != std::array<int8_t, 16>{}) {
    reject(stored, spec.suffix, "another level",
           "level 0 in entry 0 and all over the second palette");
  }
}

Matrix bind(const StoredMatrix& stored) {
  check_dimensions(stored);
  check_unrotated(stored);
  const base::TensorView& codes = require_vector(stored, "codes", DType::kU8, 64);
  const auto code_bytes = static_cast<int64_t>(codes.bytes.size());
  const std::vector<PartSpec> specs = sparse_parts(stored.rows, stored.cols, code_bytes);
  SparseMatrix matrix;
  matrix.codes = codes.data<uint8_t>();
  matrix.masks = require_part(stored, specs[1], 1).data<uint8_t>();
  matrix.offsets = require_part(stored, specs[2], alignof(uint32_t)).data<uint32_t>();
  check_palette(stored, specs[3], matrix);
  matrix.scale = require_scales(stored, "scale");
  const uint64_t used = check_offsets(stored, matrix.masks, matrix.offsets, codes);
  if (base::round_up<uint64_t>(used, 64) != codes.bytes.size()) {
    reject(stored, "codes", fmt::format("{} bytes", codes.bytes.size()),
           fmt::format("{}", base::round_up<uint64_t>(used, 64)));
  }
  if (!all_zero(codes.bytes.subspan(used))) {
    reject(stored, "codes", "bytes after the last code", "zeros");
  }
  return {stored.rows, stored.cols, matrix, nullptr};
}

}  // namespace

int64_t sparse_code_bytes(int64_t rows, int64_t keep) {
  const int64_t whole = rows / kGroupRows;
  return whole * (kGroupRows * keep / 2) + (rows % kGroupRows * keep + 1) / 2;
}

std::vector<PartSpec> sparse_parts(int64_t rows, int64_t cols, int64_t code_bytes) {
  return {{"codes", DType::kU8, {base::round_up<int64_t>(code_bytes, 64)}},
          {"mask", DType::kU8, {padded_rows(rows), blocks_of(cols), kMaskBytes}},
          {"offsets", DType::kU32, {padded_rows(rows) / kGroupRows + 1}},
          {"palette", DType::kU16, {2, 16}},
          {"scale", DType::kF32, {rows}}};
}

constinit const Codec kSparseCodec = {"sparse", 1, false, parts, encoder, bind};

void decode_row(const SparseMatrix& matrix, int64_t cols, int64_t row, float* out) noexcept {
  const int64_t row_bytes = blocks_of(cols) * kMaskBytes;
  const int64_t first = row / kGroupRows * kGroupRows;
  // In codes: the group's start, then what its rows above hold.
  int64_t at = int64_t{matrix.offsets[row / kGroupRows]} * 2 +
               count_bits(matrix.masks + first * row_bytes, (row - first) * row_bytes);
  const uint8_t* mask = matrix.masks + row * row_bytes;
  for (int64_t c = 0; c < cols; ++c) {
    out[c] = 0;
    if ((mask[c / 8] >> (c % 8) & 1) == 0) continue;
    const int code = matrix.codes[at / 2] >> (at % 2 * 4) & 15;
    out[c] = matrix.scale[row] * (static_cast<float>(matrix.level[code]) / kMaxLevel);
    ++at;
  }
}

}  // namespace upg::codec
