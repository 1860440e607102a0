// raw: the elements as they are, F32, F16 or BF16, row-major, under the matrix's own name.
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/float16.h"
#include "codec/bind_check.h"
#include "codec/decode.h"
#include "upg/error.h"

namespace upg::codec {
namespace {

using base::DType;

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

std::vector<PartSpec> parts(int64_t rows, int64_t cols, const EncodeOptions& options) {
  return {{"", options.raw_dtype, {rows, cols}}};
}

class RawEncoder final : public Encoder {
 public:
  RawEncoder(int64_t rows, int64_t cols, int64_t stored_cols, DType dtype)
      : cols_(cols), dtype_(dtype) {
    UPG_CHECK(is_float(dtype) && stored_cols == cols);
    part_.spec = {"", dtype, {rows, cols}};
    part_.bytes.resize(static_cast<size_t>(rows * cols) * base::size_of(dtype));
  }

  void train(const float*, int64_t) override {}

  // Throws Error(kUnsupported) where a finite value would become infinite.
  void encode(int64_t first_row, int64_t count, const float* rows) override {
    for (int64_t i = 0; i < count * cols_; ++i) {
      if (!store(first_row * cols_ + i, rows[i])) {
        throw Error(ErrorCode::kUnsupported,
                    fmt::format("row {}: found {}, allowed what {} can hold", first_row + i / cols_,
                                rows[i], base::name_of(dtype_)));
      }
    }
  }

  std::vector<Part> finish() override {
    std::vector<Part> parts;
    parts.push_back(std::move(part_));
    return parts;
  }

 private:
  bool store(int64_t index, float value) {
    std::byte* to = part_.bytes.data() + index * static_cast<int64_t>(base::size_of(dtype_));
    if (dtype_ == DType::kF32) {
      std::memcpy(to, &value, 4);
      return true;
    }
    const bool half = dtype_ == DType::kF16;
    const uint16_t bits = half ? base::float_to_f16(value) : base::float_to_bf16(value);
    std::memcpy(to, &bits, 2);
    return std::isfinite(half ? base::f16_to_float(bits) : base::bf16_to_float(bits));
  }

  int64_t cols_;
  DType dtype_;
  Part part_;
};

std::unique_ptr<Encoder> encoder(int64_t rows, int64_t cols, int64_t stored_cols,
                                 const EncodeOptions& options) {
  return std::make_unique<RawEncoder>(rows, cols, stored_cols, options.raw_dtype);
}

Matrix bind(const StoredMatrix& stored) {
  check_dimensions(stored);
  check_unrotated(stored);
  const base::TensorView* tensor = stored.part("");
  DType dtype = DType::kBF16;
  if (tensor != nullptr) {
    dtype = tensor->dtype;
    if (!is_float(dtype)) {
      reject(stored, "", fmt::format("type {}", base::name_of(dtype)), "F32, F16, BF16");
    }
  }
  const PartSpec spec = {"", dtype, {stored.rows, stored.cols}};
  const base::TensorView& data = require_part(stored, spec, base::size_of(dtype));
  return {stored.rows, stored.cols, RawMatrix{dtype, data.bytes.data()}, nullptr};
}

}  // namespace

constinit const Codec kRawCodec = {"raw", 1, false, parts, encoder, bind};

void decode_row(const RawMatrix& matrix, int64_t cols, int64_t row, float* out) noexcept {
  const size_t row_bytes = static_cast<size_t>(cols) * base::size_of(matrix.dtype);
  base::TensorView view;
  view.dtype = matrix.dtype;
  view.bytes = {matrix.data + static_cast<size_t>(row) * row_bytes, row_bytes};
  base::to_float(view, 0, cols, out);
}

}  // namespace upg::codec
