// What the token kernel (token.cu) is told: one program a model, a few numbers a token. Plain data
// shared by host and device.
//
// The kernel runs on every multiprocessor at once, through products and attention in phases. There
// is no barrier between them: values that one block writes for others carry the number of the phase
// that takes them (marked.cuh), and whoever needs a value looks until its number is there. Rows of
// a product go to the warp that prepares the 128 columns of the next input that they are, once for
// all, and from there to every block. Each block's rows depend on all of the phase's input, so that
// nobody is more than a phase ahead, and what is written over has been read.
//
// Each warp has a few slots of shared memory of its own, into which its next codes are copied while
// it computes; while a phase's input is on its way, it asks for the first ones.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/geometry.h"
#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {

inline constexpr int kTokenWarps = 12;
inline constexpr int kTokenThreads = 32 * kTokenWarps;
inline constexpr int kMostVectors = 4;   // of a row and block
inline constexpr int kSlots = 6;         // of a warp, for a chunk each
inline constexpr int kChunk = 8;         // blocks of a row group that a warp computes at a time
inline constexpr int kMatrices = 3;      // matrices of a product
inline constexpr int kPhaseEntries = 3;  // phases described in shared memory at a time
inline constexpr int kMaxHalfRotary = 64;
inline constexpr int kTokenHeads = 4;     // heads of a kv head that a block takes at once
inline constexpr int kQueryBytes = 4096;  // of their queries, split into halves

// A block of a prepared input: 32 words of integers in the order of views.h, scale, sum, sum of the
// squares of what was prepared, nothing. Three words and a mark are a vector of 16 bytes. The
// blocks of eight lanes of a warp lie in different banks.
inline constexpr int kBlockWords = 36;
inline constexpr int kBlockStride = 4 * kBlockWords;
inline constexpr int kBlockVectors = kBlockWords / 3;
inline constexpr int kScaleWord = 32;
inline constexpr int kSumWord = 33;
inline constexpr int kSquaresWord = 34;

// One matrix of a product.
struct TokenPart {
  const uint8_t* codes = {};
  const float* scale = {};
  const float* bias = {};  // or nullptr
  Palette palette = {};
  Kind kind = {};
  int32_t two_palettes = {};
  int32_t rows = {};
  int32_t first_row = {};    // in the product's output
  int32_t first_group = {};  // of four rows, among all parts
  int32_t block_bytes = {};  // of a row group
  int32_t group_bytes = {};  // of all its blocks
  int32_t pad = {};
};

// kNormed: of `source`; kPlain: `source`; kAttended: of the parts of the attention.
enum class TokenInput : int32_t { kNormed, kPlain, kAttended };
enum class TokenOutput : int32_t { kSet, kAdd, kGated };

// A float and in the upper half the number of the phase that takes it.
using Marked = uint64_t;
struct alignas(16) MarkedVector {
  uint32_t word[3];
  uint32_t mark;
};

// A product, and for qkv the attention after it.
struct alignas(16) TokenPhase {
  TokenInput input = {};
  TokenOutput output = {};
  const Marked* source = {};  // [cols], or nullptr of kAttended
  const float* norm = {};     // [cols] of kNormed
  const uint8_t* signs = {};  // or nullptr
  float* target = {};         // [rows], or nullptr; kAdd: what is added to
  Marked* marked = {};        // [rows], or nullptr: results for other blocks
  int32_t cols = {};
  int32_t blocks = {};
  int32_t group_chunks = {};  // of a row group
  int32_t items = {};         // row groups; kGated: pairs of one of gate and one of up
  int32_t parts = {};
  // kGated with one part: the row group of up is that of gate plus items
  TokenPart part[kMatrices] = {};
  // attention
  const float* q_norm = {};
  const float* k_norm = {};
  uint8_t* k = {};
  uint8_t* v = {};
  int32_t window = {};
  // The block's share, filled in by the block: items and their chunks.
  int32_t begin = {};
  int32_t end = {};
  int32_t chunks = {};
  float chunk_share = {};  // chunk_share(chunks)
  int32_t pad[2] = {};
};

struct TokenArguments {
  const TokenPhase* phases;
  int32_t phase_count;
  int32_t first_phase_is_embedding;  // 1: x is looked up first
  MatrixView embedding;
  float* x;                   // [hidden]
  Marked* marked;             // [hidden]: x for other blocks
  Marked* qkv;                // [qkv width]
  Marked* parts;              // of attention: [kv units, kTokenHeads, splits, head_dim + 2]
  MarkedVector* prepared[2];  // inputs of even and odd phases: [blocks, kBlockVectors]
  uint32_t mark;              // of what the first phase takes; later ones take later numbers
  int32_t act_bytes;          // shared memory of activations or attention
  int32_t partial_bytes;      // of partial sums and what rows need
  int32_t most_groups;        // row groups of a block in any product
  // the token
  int32_t id;
  int32_t position;
  const int32_t* pages;
  int32_t splits;
  // attention of every layer
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;
  int32_t half_rotary;
  int64_t k_row;
  int64_t v_row;
  float scale;
  float epsilon;
  float cos[kMaxHalfRotary];
  float sin[kMaxHalfRotary];
};

// ---- how a product is cut

// The chunks of a block's row groups, one group after the other, are divided among its warps in
// order, a range each (warp_range); the last warp has one less to do, since it has more to do
// besides. A range that ends within a group leaves a part of the group's sums; the parts of all
// groups lie in order, so that part `warp + group` is that of this warp and group.
constexpr int chunks_of(int blocks) { return (blocks + kChunk - 1) / kChunk; }
constexpr int partials_of(int row_groups) { return row_groups + kTokenWarps; }
inline constexpr int kPartialFloats = 16;  // four lanes for each of four rows
inline constexpr int kRowFloats = 8;       // of a group: four scales, four floats to add to
// With what is kept for the rows of a phase and of the next.
constexpr int row_floats_of(int row_groups) {
  return kPartialFloats * partials_of(row_groups) + 2 * kRowFloats * row_groups;
}
// Fewer chunks than warps are the first warps': parts of one group lie side by side.
constexpr int shares_of(int chunks) { return chunks + 1 > kTokenWarps ? chunks + 1 : kTokenWarps; }
constexpr Span warp_range(int chunks, int warp) {
  const Span share = span_of(shares_of(chunks), warp, kTokenWarps);
  return {share.begin < chunks ? share.begin : chunks, share.end < chunks ? share.end : chunks};
}
// Whose a chunk is. share: chunk_share() of the block's.
constexpr float chunk_share(int chunks) { return 1.0f / static_cast<float>(shares_of(chunks)); }
constexpr int warp_of(int chunk, float share) {
  return static_cast<int>((static_cast<float>((chunk + 1) * kTokenWarps) - 0.5f) * share);
}

// Bytes of shared memory that a program of these sizes needs besides its fixed parts.
struct TokenMemory {
  int act_bytes = 0;
  int partial_bytes = 0;
  bool fits = false;
};

struct TokenSizes {
  int most_blocks = 0;  // of any product's input
  int most_groups = 0;  // row groups of a block in any product
};
// fixed_bytes: what the kernel takes whatever the program.
TokenMemory plan_token_memory(const TokenSizes& sizes, int fixed_bytes,
                              const DeviceLimits& limits) noexcept;

// Into how many parts a token's positions are cut.
int token_splits(int kv_units, int positions, int grid) noexcept;

}  // namespace upg::kernels::cuda
