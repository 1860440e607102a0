#include "codec/bind_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/text.h"
#include "codec/path_layout.h"
#include "codec/primes.h"
#include "upg/error.h"

namespace upg::codec {
namespace {

constexpr int64_t kMaxDimension = INT32_MAX;

std::string full_name(const StoredMatrix& stored, std::string_view suffix) {
  const std::string name = base::printable(stored.name);
  return suffix.empty() ? name : fmt::format("{}.{}", name, suffix);
}

// The product of a shape times the element size, or nullopt where it does not fit 64 bits.
std::optional<uint64_t> byte_count(const base::TensorView& tensor) {
  uint64_t bytes = base::size_of(tensor.dtype);
  for (const int64_t size : tensor.shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes)) return {};
  }
  return bytes;
}

const base::TensorView& require_tensor(const StoredMatrix& stored, std::string_view suffix,
                                       base::DType dtype) {
  const base::TensorView* tensor = stored.part(suffix);
  if (tensor == nullptr) {
    reject(stored, suffix, "no such tensor",
           fmt::format("one of type {} for a matrix of {} x {}", base::name_of(dtype), stored.rows,
                       stored.cols));
  }
  if (tensor->dtype != dtype) {
    reject(stored, suffix, fmt::format("type {}", base::name_of(tensor->dtype)),
           base::name_of(dtype));
  }
  return *tensor;
}

void check_bytes(const StoredMatrix& stored, std::string_view suffix,
                 const base::TensorView& tensor, size_t alignment) {
  const std::optional<uint64_t> want = byte_count(tensor);
  if (!want || tensor.bytes.size() != *want) {
    reject(stored, suffix, fmt::format("{} bytes", tensor.bytes.size()),
           fmt::format("what shape {} says", base::shape_text(tensor.shape)));
  }
  if (!tensor.bytes.empty() && reinterpret_cast<uintptr_t>(tensor.bytes.data()) % alignment != 0) {
    reject(stored, suffix, "data at a misaligned address",
           fmt::format("a multiple of {} bytes", alignment));
  }
}

}  // namespace

void reject(const StoredMatrix& stored, std::string_view suffix, std::string_view found,
            std::string_view allowed) {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("{}: found {}, allowed {}", full_name(stored, suffix), found, allowed));
}

void check_dimensions(const StoredMatrix& stored) {
  if (stored.rows < 1 || stored.rows > kMaxDimension || stored.cols < 1 ||
      stored.cols > kMaxDimension) {
    reject(stored, "", fmt::format("{} rows and {} columns", stored.rows, stored.cols),
           fmt::format("1 to {} of each", kMaxDimension));
  }
}

void check_unrotated(const StoredMatrix& stored) {
  if (stored.signs != nullptr) reject(stored, "", "an input rotation", "none for this codec");
}

const base::TensorView& require_part(const StoredMatrix& stored, const PartSpec& spec,
                                     size_t alignment) {
  const base::TensorView& tensor = require_tensor(stored, spec.suffix, spec.dtype);
  if (tensor.shape != spec.shape) {
    reject(stored, spec.suffix, fmt::format("shape {}", base::shape_text(tensor.shape)),
           fmt::format("{} for a matrix of {} x {}", base::shape_text(spec.shape), stored.rows,
                       stored.cols));
  }
  check_bytes(stored, spec.suffix, tensor, alignment);
  return tensor;
}

const base::TensorView& require_vector(const StoredMatrix& stored, std::string_view suffix,
                                       base::DType dtype, size_t alignment) {
  const base::TensorView& tensor = require_tensor(stored, suffix, dtype);
  if (tensor.shape.size() != 1) {
    reject(stored, suffix, fmt::format("shape {}", base::shape_text(tensor.shape)),
           "one dimension");
  }
  check_bytes(stored, suffix, tensor, alignment);
  return tensor;
}

const float* require_scales(const StoredMatrix& stored, std::string_view suffix) {
  const PartSpec spec = {std::string(suffix), base::DType::kF32, {stored.rows}};
  const float* scales = require_part(stored, spec, alignof(float)).data<float>();
  for (int64_t row = 0; row < stored.rows; ++row) {
    if (!std::isfinite(scales[row])) {
      reject(stored, suffix, fmt::format("{} in row {}", scales[row], row), "finite numbers");
    }
  }
  return scales;
}

void read_palettes(const StoredMatrix& stored, std::string_view suffix, const uint16_t* entries,
                   int states, int8_t* level_a, int8_t* level_b) {
  for (int i = 0; i < 2 * states; ++i) {
    if ((entries[i] & ~(kSignBit | kIndexMask)) != 0 || (entries[i] & kIndexMask) >= kPrimeCount) {
      reject(stored, suffix, fmt::format("entry {} = {:#06x}", i, entries[i]),
             fmt::format("bit 14 zero and an index below {}", kPrimeCount));
    }
    (i < states ? level_a[i] : level_b[i - states]) = level_of(entries[i]);
  }
  const auto [a_low, a_high] = std::minmax_element(level_a, level_a + states);
  const auto [b_low, b_high] = std::minmax_element(level_b, level_b + states);
  if (*a_high + *b_high > kMaxLevel || *a_low + *b_low < -kMaxLevel) {
    reject(stored, suffix, fmt::format("sums of {} to {}", *a_low + *b_low, *a_high + *b_high),
           fmt::format("{} to {}", -kMaxLevel, kMaxLevel));
  }
}

void check_padding_rows(const StoredMatrix& stored, std::string_view suffix, const std::byte* codes,
                        int64_t vectors) {
  for (int64_t row = stored.rows; row < padded_rows(stored.rows); ++row) {
    const std::byte* vector = codes + row_offset(row, 1, vectors);
    for (int64_t v = 0; v < vectors; ++v, vector += kVectorStride) {
      if (!all_zero({vector, kVectorBytes})) {
        reject(stored, suffix, fmt::format("codes in padding row {}", row),
               fmt::format("zeros beyond row {}", stored.rows - 1));
      }
    }
  }
}

bool all_zero(std::span<const std::byte> bytes) noexcept {
  std::byte any{0};
  for (const std::byte byte : bytes) any |= byte;
  return any == std::byte{0};
}

}  // namespace upg::codec
