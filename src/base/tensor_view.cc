#include "base/tensor_view.h"

#include <array>
#include <cstring>

#include "base/check.h"
#include "base/float16.h"

namespace upg::base {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  size_t bytes;
};

constexpr std::array<DTypeRow, 13> kDTypes = {{{DType::kBool, "BOOL", 1},
                                               {DType::kU8, "U8", 1},
                                               {DType::kI8, "I8", 1},
                                               {DType::kU16, "U16", 2},
                                               {DType::kI16, "I16", 2},
                                               {DType::kF16, "F16", 2},
                                               {DType::kBF16, "BF16", 2},
                                               {DType::kU32, "U32", 4},
                                               {DType::kI32, "I32", 4},
                                               {DType::kF32, "F32", 4},
                                               {DType::kU64, "U64", 8},
                                               {DType::kI64, "I64", 8},
                                               {DType::kF64, "F64", 8}}};

const DTypeRow& row_of(DType dtype) noexcept { return kDTypes[static_cast<size_t>(dtype)]; }

template <float (*kConvert)(uint16_t)>
void widen(const std::byte* in, int64_t count, float* out) noexcept {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, in + 2 * i, 2);
    out[i] = kConvert(bits);
  }
}

}  // namespace

size_t size_of(DType dtype) noexcept { return row_of(dtype).bytes; }
std::string_view name_of(DType dtype) noexcept { return row_of(dtype).name; }

std::optional<DType> parse_dtype(std::string_view name) noexcept {
  for (const DTypeRow& row : kDTypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

int64_t TensorView::elements() const noexcept {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

void to_float(const TensorView& tensor, int64_t first, int64_t count, float* out) noexcept {
  const std::byte* in = tensor.bytes.data() + static_cast<size_t>(first) * size_of(tensor.dtype);
  switch (tensor.dtype) {
    case DType::kF32:
      std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kF16:
      return widen<f16_to_float>(in, count, out);
    case DType::kBF16:
      return widen<bf16_to_float>(in, count, out);
    default:
      UPG_CHECK(false && "to_float of a type that is not a float");
  }
}

}  // namespace upg::base
