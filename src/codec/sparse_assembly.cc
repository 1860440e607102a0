#include "codec/sparse_assembly.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/check.h"
#include "base/checked.h"
#include "codec/matrix.h"
#include "codec/primes.h"
#include "codec/sparse.h"
#include "upg/error.h"

namespace upg::codec {
namespace {

template <class T>
std::vector<std::byte> bytes_of(const std::vector<T>& items) {
  const auto bytes = std::as_bytes(std::span(items));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

SparseAssembly::SparseAssembly(int64_t rows, int64_t cols, const SparseFit& fit)
    : rows_(rows),
      cols_(cols),
      fit_(fit),
      groups_(static_cast<size_t>(padded_rows(rows) / kGroupRows)),
      mask_(static_cast<size_t>(padded_rows(rows) * padded_cols(cols) / 8)),
      scale_(static_cast<size_t>(rows)) {}

void SparseAssembly::set_rows(int64_t first_row, int64_t count, const uint8_t* codes,
                              const float* scale) {
  UPG_CHECK(first_row % kGroupRows == 0);
  std::copy_n(scale, count, scale_.begin() + first_row);
  for (int64_t r = 0; r < count; ++r) {
    std::byte* mask = mask_.data() + (first_row + r) * padded_cols(cols_) / 8;
    for (int64_t c = 0; c < cols_; ++c) {
      if (codes[r * cols_ + c] != kNotStored) mask[c / 8] |= std::byte{1} << (c % 8);
    }
  }
  for (int64_t first = 0; first < count; first += kGroupRows) {
    const uint8_t* end = codes + std::min(first + kGroupRows, count) * cols_;
    std::vector<std::byte>& group = groups_[static_cast<size_t>((first_row + first) / kGroupRows)];
    bool high = false;
    for (const uint8_t* code = codes + first * cols_; code != end; ++code) {
      if (*code == kNotStored) continue;
      if (high) {
        group.back() |= static_cast<std::byte>(*code << 4);
      } else {
        group.push_back(static_cast<std::byte>(*code));
      }
      high = !high;
    }
  }
}

std::vector<Part> SparseAssembly::finish() {
  std::vector<uint32_t> offsets(1);
  uint64_t total = 0;
  for (const std::vector<std::byte>& group : groups_) {
    total += group.size();
    if (total > UINT32_MAX) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("sparse: found more than {} bytes of codes in one matrix, allowed "
                              "so many",
                              UINT32_MAX));
    }
    offsets.push_back(static_cast<uint32_t>(total));
  }
  std::vector<Part> parts(5);
  std::vector<std::byte>& codes = parts[0].bytes;
  codes.reserve(base::round_up<uint64_t>(total, 64));
  for (std::vector<std::byte>& group : groups_) {
    codes.insert(codes.end(), group.begin(), group.end());
    std::vector<std::byte>().swap(group);  // a large matrix is not held twice
  }
  codes.resize(base::round_up<uint64_t>(total, 64));
  std::vector<uint16_t> palette(32, entry_of(0));
  for (size_t i = 0; i < 16; ++i) palette[i] = entry_of(fit_.level[i]);
  parts[1].bytes = std::move(mask_);
  parts[2].bytes = bytes_of(offsets);
  parts[3].bytes = bytes_of(palette);
  parts[4].bytes = bytes_of(scale_);
  std::vector<PartSpec> specs = sparse_parts(rows_, cols_, static_cast<int64_t>(total));
  for (size_t i = 0; i < parts.size(); ++i) parts[i].spec = std::move(specs[i]);
  return parts;
}

}  // namespace upg::codec
