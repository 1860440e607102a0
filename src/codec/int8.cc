// int8: 8 bits a weight and a float a row. weight = scale[row] * level / 127, |level| <= 127, and
// scale is the row's largest magnitude, so that |decoded - original| <= scale / 254 (and the
// rounding of one float product).
//
// codes [padded_rows / 4, blocks, 8, 4, 16]: for each block of 128 columns and each j, the four
// rows' bytes of columns 16 j ... 16 j + 15 lie side by side.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "codec/bind_check.h"
#include "codec/decode.h"
#include "codec/path_layout.h"

namespace upg::codec {
namespace {

using base::DType;

constexpr int kVectors = 8;  // 16-byte vectors a row and block
constexpr float kMaxCode = 127.0f;

std::vector<PartSpec> parts(int64_t rows, int64_t cols, const EncodeOptions&) {
  return {{"codes",
           DType::kI8,
           {padded_rows(rows) / kGroupRows, blocks_of(cols), kVectors, kGroupRows, kVectorBytes}},
          {"scale", DType::kF32, {rows}}};
}

class Int8Encoder final : public Encoder {
 public:
  Int8Encoder(int64_t rows, int64_t cols, int64_t stored_cols)
      : rows_(rows), cols_(cols), stored_cols_(stored_cols), scale_(static_cast<size_t>(rows)) {
    UPG_CHECK(stored_cols == cols || stored_cols == padded_cols(cols));
    codes_.resize(static_cast<size_t>(padded_rows(rows) * padded_cols(cols)));
  }

  void train(const float*, int64_t) override {}

  void encode(int64_t first_row, int64_t count, const float* rows) override {
    for (int64_t r = 0; r < count; ++r) encode_row(first_row + r, rows + r * stored_cols_);
  }

  std::vector<Part> finish() override {
    const std::vector<PartSpec> specs = parts(rows_, cols_, {});
    const auto scale = std::as_bytes(std::span(scale_));
    return {{specs[0], std::move(codes_)}, {specs[1], {scale.begin(), scale.end()}}};
  }

 private:
  void encode_row(int64_t row, const float* w) {
    float amax = 0;
    for (int64_t c = 0; c < stored_cols_; ++c) amax = std::max(amax, std::fabs(w[c]));
    scale_[static_cast<size_t>(row)] = amax;
    if (amax == 0) return;
    std::byte* out = codes_.data() + row_offset(row, blocks_of(cols_), kVectors);
    for (int64_t c = 0; c < stored_cols_; ++c) {
      // Divide first: 127 / amax overflows for the smallest floats.
      const auto code = static_cast<int8_t>(std::nearbyint(w[c] / amax * kMaxCode));
      out[c / kVectorBytes * kVectorStride + c % kVectorBytes] = static_cast<std::byte>(code);
    }
  }

  int64_t rows_, cols_, stored_cols_;
  std::vector<std::byte> codes_;
  std::vector<float> scale_;
};

std::unique_ptr<Encoder> encoder(int64_t rows, int64_t cols, int64_t stored_cols,
                                 const EncodeOptions&) {
  return std::make_unique<Int8Encoder>(rows, cols, stored_cols);
}

Matrix bind(const StoredMatrix& stored) {
  check_dimensions(stored);
  const std::vector<PartSpec> specs = parts(stored.rows, stored.cols, {});
  const base::TensorView& codes = require_part(stored, specs[0], 64);
  const auto* data = codes.data<int8_t>();
  // -128 has no counterpart: kernels that take magnitudes rely on its absence.
  int8_t lowest = 0;
  for (size_t i = 0; i < codes.bytes.size(); ++i) lowest = std::min(lowest, data[i]);
  if (lowest < -127) reject(stored, "codes", "-128", "-127 to 127");
  check_padding_rows(stored, "codes", codes.bytes.data(), blocks_of(stored.cols) * kVectors);
  return {stored.rows, stored.cols, Int8Matrix{data, require_scales(stored, "scale")},
          stored.signs};
}

}  // namespace

constinit const Codec kInt8Codec = {"int8", 1, true, parts, encoder, bind};

void decode_row(const Int8Matrix& matrix, int64_t cols, int64_t row, float* out) noexcept {
  const int8_t* codes = matrix.codes + row_offset(row, blocks_of(cols), kVectors);
  for (int64_t c = 0; c < padded_cols(cols); ++c) {
    const int8_t code = codes[c / kVectorBytes * kVectorStride + c % kVectorBytes];
    out[c] = matrix.scale[row] * (static_cast<float>(code) / kMaxCode);
  }
}

}  // namespace upg::codec
