// Element types and views of tensors in memory, in the words of the safetensors format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace upg::base {

enum class DType : uint8_t {
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kF16,
  kBF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64
};

size_t size_of(DType dtype) noexcept;            // bytes an element
std::string_view name_of(DType dtype) noexcept;  // "BF16"
std::optional<DType> parse_dtype(std::string_view name) noexcept;

// A tensor whose bytes somebody else owns (a mapped file, a buffer). Row-major, little-endian.
struct TensorView {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;        // at most 8 dimensions, each >= 0
  std::span<const std::byte> bytes;  // exactly product(shape) * size_of(dtype)

  int64_t elements() const noexcept;
  template <class T>
  const T* data() const noexcept {  // the caller has checked dtype; bytes are aligned for T
    return reinterpret_cast<const T*>(bytes.data());
  }
};

std::string shape_text(std::span<const int64_t> shape);  // "[5120, 17920]"

// `count` elements of an F32, F16 or BF16 array from element `first`, as float. Unaligned bytes are
// fine. The caller has checked the type and the range.
void to_float(const TensorView& tensor, int64_t first, int64_t count, float* out) noexcept;

}  // namespace upg::base
