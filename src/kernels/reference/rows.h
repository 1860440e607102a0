// How reference reads one row of each codec, block of 128 columns by block, in order: next() gives
// the block's levels (or weights), factor() what their sum is multiplied by.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "base/float16.h"
#include "codec/matrix.h"
#include "codec/path_layout.h"

namespace upg::kernels::reference {

using codec::kBlockColumns;

class PathRow {
 public:
  using Value = int8_t;
  PathRow(const codec::PathMatrix& w, int64_t cols, int64_t row) noexcept
      : w_(w),
        codes_(w.codes + codec::row_offset(row, codec::blocks_of(cols), w.bits)),
        factor_(w.scale[row] / 63.0f) {}

  float factor() const noexcept { return factor_; }

  void next(int8_t* levels) noexcept {
    uint8_t code[kBlockColumns];
    unpack(code);
    for (int c = 0; c < kBlockColumns; ++c) {
      levels[c] =
          static_cast<int8_t>(w_.level_a[code[c]] + w_.level_b[code[codec::column_before(c)]]);
    }
    codes_ += w_.bits * codec::kVectorStride;
  }

 private:
  void unpack(uint8_t* code) const noexcept {
    if (w_.bits == 2) codec::unpack_block<2>(codes_, code);
    if (w_.bits == 3) codec::unpack_block<3>(codes_, code);
    if (w_.bits == 4) codec::unpack_block<4>(codes_, code);
  }

  const codec::PathMatrix& w_;
  const uint8_t* codes_;  // the row's first vector of the next block
  float factor_;
};

class Int8Row {
 public:
  using Value = int8_t;
  static constexpr int kVectors = kBlockColumns / codec::kVectorBytes;

  Int8Row(const codec::Int8Matrix& w, int64_t cols, int64_t row) noexcept
      : codes_(w.codes + codec::row_offset(row, codec::blocks_of(cols), kVectors)),
        factor_(w.scale[row] / 127.0f) {}

  float factor() const noexcept { return factor_; }

  void next(int8_t* levels) noexcept {
    for (int v = 0; v < kVectors; ++v, levels += codec::kVectorBytes) {
      std::memcpy(levels, codes_, codec::kVectorBytes);
      codes_ += codec::kVectorStride;
    }
  }

 private:
  const int8_t* codes_;
  float factor_;
};

class SparseRow {
 public:
  using Value = int8_t;
  SparseRow(const codec::SparseMatrix& w, int64_t cols, int64_t row) noexcept
      : w_(w), factor_(w.scale[row] / 63.0f) {
    const int64_t row_bytes = codec::blocks_of(cols) * kMaskBytes;
    const int64_t group = row / codec::kGroupRows;
    mask_ = w.masks + group * codec::kGroupRows * row_bytes;
    nibble_ = 2 * static_cast<int64_t>(w.offsets[group]);
    for (const uint8_t* end = w.masks + row * row_bytes; mask_ != end; ++mask_) {
      nibble_ += __builtin_popcount(*mask_);
    }
  }

  float factor() const noexcept { return factor_; }

  void next(int8_t* levels) noexcept {
    for (int c = 0; c < kBlockColumns; ++c) {
      const bool kept = (mask_[c / 8] >> (c % 8) & 1) != 0;
      levels[c] = kept ? w_.level[next_code()] : int8_t{0};
    }
    mask_ += kMaskBytes;
  }

 private:
  static constexpr int kMaskBytes = kBlockColumns / 8;

  int next_code() noexcept {
    const int code = w_.codes[nibble_ / 2] >> (4 * (nibble_ % 2)) & 15;
    ++nibble_;
    return code;
  }

  const codec::SparseMatrix& w_;
  const uint8_t* mask_;  // of the next block
  int64_t nibble_;       // index of the next code
  float factor_;
};

class RawRow {
 public:
  using Value = float;
  RawRow(const codec::RawMatrix& w, int64_t cols, int64_t row) noexcept
      : dtype_(w.dtype), left_(cols) {
    data_ = w.data + row * cols * static_cast<int64_t>(base::size_of(dtype_));
  }

  float factor() const noexcept { return 1.0f; }

  // Zeros past the last column.
  void next(float* weights) noexcept {
    for (int c = 0; c < kBlockColumns; ++c, --left_) weights[c] = left_ > 0 ? read() : 0.0f;
  }

 private:
  float read() noexcept {
    if (dtype_ == base::DType::kF32) return take<float>();
    const auto bits = take<uint16_t>();
    return dtype_ == base::DType::kF16 ? base::f16_to_float(bits) : base::bf16_to_float(bits);
  }

  template <class T>
  T take() noexcept {
    T value;  // the file aligns elements only to themselves, a view may not even do that
    std::memcpy(&value, data_, sizeof(T));
    data_ += sizeof(T);
    return value;
  }

  base::DType dtype_;
  int64_t left_;  // columns
  const std::byte* data_;
};

}  // namespace upg::kernels::reference
