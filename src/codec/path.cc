// path2, path3, path4: two palettes a matrix, a code a weight, codes in closed chains of 16
// (path_layout.h draws the bits, path_viterbi.h says how the encoder chooses).
//
//   weight = scale[row] * (level(A[code]) + level(B[code before])) / 63
//
// codes    U8  [padded_rows / 4, blocks, 64 * bits]   at 2, 3, 4 bits: 2, 3, 4 vectors a row
// palette  U16 [2, 2^bits]                            A, then B: prime indices with a sign bit
// scale    F32 [rows]
//
// The error has no bound a weight (a chain trades one weight for another); over Gaussian rows its
// mean square is 0.096, 0.0253 and 0.0067 of the variance at 2, 3 and 4 bits.
#include "codec/path.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/bind_check.h"
#include "codec/decode.h"
#include "codec/path_layout.h"
#include "codec/primes.h"

namespace upg::codec {
namespace {

using base::DType;

template <int kBits>
std::vector<PartSpec> parts(int64_t rows, int64_t cols, const EncodeOptions&) {
  return path_parts(kBits, rows, cols);
}

template <int kBits>
std::unique_ptr<Encoder> encoder(int64_t rows, int64_t cols, int64_t stored_cols,
                                 const EncodeOptions&) {
  return make_path_encoder(kBits, rows, cols, stored_cols);
}

void bind_palettes(const StoredMatrix& stored, const PartSpec& spec, PathMatrix& matrix) {
  const auto* entries = require_part(stored, spec, alignof(uint16_t)).data<uint16_t>();
  read_palettes(stored, spec.suffix, entries, 1 << matrix.bits, matrix.level_a.data(),
                matrix.level_b.data());
  matrix.two_palettes = std::any_of(matrix.level_b.begin(), matrix.level_b.end(),
                                    [](int8_t level) { return level != 0; });
}

template <int kBits>
Matrix bind(const StoredMatrix& stored) {
  check_dimensions(stored);
  const std::vector<PartSpec> specs = path_parts(kBits, stored.rows, stored.cols);
  PathMatrix matrix;
  matrix.bits = kBits;
  const base::TensorView& codes = require_part(stored, specs[0], kVectorStride);
  check_padding_rows(stored, "codes", codes.bytes.data(), blocks_of(stored.cols) * kBits);
  matrix.codes = codes.data<uint8_t>();  // any bits are codes: there is nothing else to check
  bind_palettes(stored, specs[1], matrix);
  matrix.scale = require_scales(stored, "scale");
  return {stored.rows, stored.cols, matrix, stored.signs};
}

template <int kBits>
void decode(const PathMatrix& matrix, int64_t blocks, int64_t row, float* out) noexcept {
  const uint8_t* vectors = matrix.codes + row_offset(row, blocks, kBits);
  const float scale = matrix.scale[row];
  for (int64_t block = 0; block < blocks; ++block) {
    uint8_t codes[kBlockColumns], before[kBlockColumns];
    unpack_block<kBits>(vectors, codes);
    shift_chains(codes, before);
    for (int c = 0; c < kBlockColumns; ++c) {
      const int level = matrix.level_a[codes[c]] + matrix.level_b[before[c]];
      out[c] = scale * (static_cast<float>(level) / kMaxLevel);
    }
    vectors += kBits * kVectorStride;
    out += kBlockColumns;
  }
}

}  // namespace

std::vector<PartSpec> path_parts(int bits, int64_t rows, int64_t cols) {
  return {{"codes",
           DType::kU8,
           {padded_rows(rows) / kGroupRows, blocks_of(cols), int64_t{bits} * kVectorStride}},
          {"palette", DType::kU16, {2, int64_t{1} << bits}},
          {"scale", DType::kF32, {rows}}};
}

constinit const Codec kPath2Codec = {"path2", 1, true, parts<2>, encoder<2>, bind<2>};
constinit const Codec kPath3Codec = {"path3", 1, true, parts<3>, encoder<3>, bind<3>};
constinit const Codec kPath4Codec = {"path4", 1, true, parts<4>, encoder<4>, bind<4>};

void decode_row(const PathMatrix& matrix, int64_t cols, int64_t row, float* out) noexcept {
  auto* decode_bits = matrix.bits == 2 ? decode<2> : matrix.bits == 3 ? decode<3> : decode<4>;
  decode_bits(matrix, blocks_of(cols), row, out);
}

}  // namespace upg::codec
