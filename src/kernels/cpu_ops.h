// What an instruction set implements: plain functions over ranges, driven by CpuBackend's threads.
//
// A table an instruction set (reference/, cpu/ compiled once per set). Every function is noexcept,
// allocates nothing and may run on several threads at once for disjoint outputs.
#pragma once

#include <cstdint>
#include <string_view>

#include "codec/matrix.h"
#include "kernels/backend.h"

namespace upg::kernels {

// Input vectors as the integer codecs take them: per block of 128 columns one scale,
// q = round-half-even(x * (127 / amax)), scale = amax / 127. amax below kSmallestAmax gives zeros
// (127 / amax would overflow); where a value is not finite, the scale is not either.
inline constexpr float kSmallestAmax = 0x1p-100f;

struct QuantisedInput {
  const int8_t* q;       // [rows, cols], cols a multiple of 128, 64-byte aligned
  const float* scale;    // [rows, cols / 128]
  const int32_t* start;  // [rows, cols / 128, 4]: what a block's integer sums start with, and three
                         // zeros: -CpuOps::level_offset * sum of q over the block
  int64_t rows;
  int64_t cols;
  const int8_t* tiled =
      nullptr;  // the same q in tiles (input_tiles.h) of inputs_of_a_tile() vectors
};

// From so many inputs on there are several tiles.
inline constexpr int64_t kTiledInputs = 17;

// Input vectors as the float codecs take them. Columns from `cols` to the next multiple of 128 are
// there and zero, so stride >= padded_cols(cols).
struct FloatInput {
  const float* x;  // [rows, stride], 64-byte aligned
  int64_t rows;
  int64_t cols;
  int64_t stride;
};

// Where a product goes: y[i * stride + r] for input i and matrix row r.
struct Output {
  float* y;
  int64_t stride;
  Store store;
};

// The part of a matrix one call works on: rows [begin, end), begin a multiple of kRowPadding.
struct RowRange {
  int64_t begin;
  int64_t end;
};

inline constexpr int kAttentionTokens = 32;  // query tokens a task may have

// One call of attention: some query tokens of one sequence, the heads of one kv head, all pages
// that they see or a run of them.
struct AttentionTask {
  const float* q;    // first query token's first head of the group; head h at + h * head_dim
  float* out;        // likewise
  int64_t q_stride;  // floats from token to token
  int64_t out_stride;
  int tokens;    // query tokens, at most kAttentionTokens
  int position;  // of the first one; token i sees positions up to position + i
  int group;     // heads that share the kv head
  int head_dim;
  int kv_head;
  int kv_heads;
  float scale;
  int window;
  const int32_t* pages;
  KvLayer cache;
  float* scratch;      // attention_scratch_floats(group, head_dim)
  int first_page = 0;  // of the sequence; what lies before it or from end_page on is not looked at
  int end_page = INT32_MAX;
  // Not null: a part of the pages. `out` stays a sum of values by weights e^(score - maximum), and
  // maximum and the sum of the weights go here: [tokens, group] each, one after the other.
  float* unfinished = nullptr;
};

constexpr int64_t attention_scratch_floats(int group, int head_dim) {
  return static_cast<int64_t>(group) * (head_dim + kPageTokens + 8 + 2 * kAttentionTokens) +
         int64_t{2} * kPageTokens * head_dim;
}

struct CpuOps {
  std::string_view name;
  std::string_view needs;
  bool (*supported)() noexcept;

  void (*matmul_path)(const codec::PathMatrix& w, int64_t cols, RowRange rows,
                      const QuantisedInput& x, const Output& out) noexcept;
  void (*matmul_int8)(const codec::Int8Matrix& w, int64_t cols, RowRange rows,
                      const QuantisedInput& x, const Output& out) noexcept;
  void (*matmul_sparse)(const codec::SparseMatrix& w, int64_t cols, RowRange rows,
                        const QuantisedInput& x, const Output& out) noexcept;
  void (*matmul_mdcsr)(const codec::MdcsrMatrix& w, int64_t cols, RowRange rows,
                       const FloatInput& x, const Output& out) noexcept;
  void (*matmul_raw)(const codec::RawMatrix& w, int64_t cols, RowRange rows, const FloatInput& x,
                     const Output& out) noexcept;

  // What the table's products add to levels so that they are unsigned, and QuantisedInput::start
  // takes away again.
  int level_offset = 0;
  // From so many inputs on they come as one tile (0: never), from kTiledInputs on in tiles of at
  // most tile_inputs (0: this table does not look at tiles).
  int one_tile_from = 0;
  int tile_inputs = 0;

  // In place, one vector of cols (a multiple of 128) floats: signs, then Hadamard, / sqrt(128). To
  // the last bit what codec::rotate gives, so that every table quantises alike.
  void (*rotate)(float* x, int64_t cols, const uint8_t* signs) noexcept;
  // One vector: q [cols], scale [cols / 128], start [cols / 128, 4].
  void (*quantise)(const float* x, int64_t cols, int8_t* q, float* scale, int32_t* start) noexcept;

  void (*rms_norm)(float* y, const float* x, const float* weight, float epsilon,
                   int64_t cols) noexcept;
  // One head vector: pairs (i, i + dims / 2), cos and sin [dims / 2].
  void (*rope)(float* head, const float* cos, const float* sin, int dims) noexcept;
  // One head vector into its cache row. kQ8: per 32 values 34 bytes, first scale = f16(amax / 127,
  // at most 65504), then q = round-half-even(x / scale) kept within +-127, all zero for scale 0.
  void (*store_kv)(std::byte* row, const float* x, int head_dim, KvType type) noexcept;
  void (*attention)(const AttentionTask& task) noexcept;
  void (*swiglu)(float* y, const float* gate, const float* up, int64_t n) noexcept;

  // Rows [first, first + count) as stored (rotated), [count, blocks * 128]: to the last bit what
  // codec::decode_row gives. A table without it leaves decoding to the codec.
  void (*decode_path)(const codec::PathMatrix& w, int64_t blocks, int64_t first, int64_t count,
                      float* out) noexcept = nullptr;
  // The inverse of rotate(), to the last bit what codec::unrotate gives; comes with decode_path.
  void (*unrotate)(float* x, int64_t cols, const uint8_t* signs) noexcept = nullptr;

  // The integer codecs on float activations (rotated where the matrix is, not quantised): all three
  // or none. A table without them is refused for Activations::kF32.
  void (*matmul_path_float)(const codec::PathMatrix& w, int64_t cols, RowRange rows,
                            const FloatInput& x, const Output& out) noexcept = nullptr;
  void (*matmul_int8_float)(const codec::Int8Matrix& w, int64_t cols, RowRange rows,
                            const FloatInput& x, const Output& out) noexcept = nullptr;
  void (*matmul_sparse_float)(const codec::SparseMatrix& w, int64_t cols, RowRange rows,
                              const FloatInput& x, const Output& out) noexcept = nullptr;
};

// The most inputs of a tile where there are `inputs` of them; 0: they come in none.
static inline int64_t inputs_of_a_tile(const CpuOps& ops, int64_t inputs) noexcept {
  if (inputs >= kTiledInputs) return ops.tile_inputs;
  return ops.one_tile_from > 0 && inputs >= ops.one_tile_from ? inputs : 0;
}

}  // namespace upg::kernels
