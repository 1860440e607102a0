// What the token kernel (token.cu) is told: one program a model, a few numbers a token. Plain data
// shared by host and device.
//
// The kernel runs on every multiprocessor at once; products and attention are phases between which
// the blocks meet. Each lane has a few slots of shared memory of its own, into which the codes of
// its next blocks are copied while it computes; a warp that is done with a product asks for the
// first of the next, which arrive while the blocks wait for one another.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/geometry.h"
#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {

inline constexpr int kTokenWarps = 16;
inline constexpr int kTokenThreads = 32 * kTokenWarps;
inline constexpr int kSlotVectors = 4;    // 16-byte vectors a lane copies at a time, at most
inline constexpr int kSlots = 5;          // of a lane
inline constexpr int kChunk = 8;          // blocks of a row group that a warp computes at a time
inline constexpr int kInputBlocks = 4;    // blocks of an input a warp prepares at most
inline constexpr int kFewRounds = 3;      // of most models; kept apart to keep them short
inline constexpr int kBlockStride = 144;  // bytes from block to block of activations: no two
                                          // rows of a warp's blocks meet in one bank
inline constexpr int kPhaseEntries = 3;   // phases described in shared memory at a time
inline constexpr int kMaxHalfRotary = 64;
inline constexpr int kTokenHeads = 4;     // heads of a kv head that a block takes at once
inline constexpr int kQueryBytes = 4096;  // of their queries, split into halves

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
  int32_t pad = {};
};

enum class TokenInput : int32_t { kNormed, kPlain, kQuantised };
enum class TokenOutput : int32_t { kSet, kAdd, kGated };

// A product, and for qkv the attention after it.
struct alignas(16) TokenPhase {
  TokenInput input = {};
  TokenOutput output = {};
  const float* source = {};   // [cols] floats; kQuantised: in TokenArguments
  const float* norm = {};     // [cols] of kNormed
  const uint8_t* signs = {};  // or nullptr
  float* target = {};         // kGated: [items * 4]
  int32_t cols = {};
  int32_t blocks = {};
  int32_t tile_blocks = {};  // blocks of a row group in a tile
  int32_t tiles = {};        // of a row group
  int32_t items = {};        // row groups; kGated: pairs of one of gate and one of up
  int32_t parts = {};
  // kGated with one part: the row group of up is that of gate plus items
  TokenPart part[3] = {};
  const uint8_t* gated_signs = {};  // of the input after kGated
  // attention
  const float* q_norm = {};
  const float* k_norm = {};
  uint8_t* k = {};
  uint8_t* v = {};
  int32_t window = {};
  // The block's items, [begin, end): filled in by the block.
  int32_t begin = {};
  int32_t end = {};
  int32_t pad = {};
};

struct TokenArguments {
  const TokenPhase* phases;
  int32_t phase_count;
  int32_t first_phase_is_embedding;  // 1: x is looked up first
  MatrixView embedding;
  float* x;         // [hidden]
  float* qkv;       // [qkv width]
  float* attended;  // [q width]
  int8_t* gated_q;  // [blocks of intermediate, 128] and their scales and sums
  float* gated_scale;
  int32_t* gated_sum;
  float* parts;          // of attention: [kv units, kTokenHeads, splits, head_dim + 2]
  uint32_t* barrier;     // counts arrivals, for ever
  uint32_t* unit_done;   // [kv units], zero between uses
  uint32_t* gated_done;  // [blocks of intermediate], likewise
  uint32_t barrier_base;
  int32_t act_bytes;      // shared memory of activations or attention
  int32_t partial_bytes;  // of partial sums
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

// Into how many tiles the blocks of a row group are cut, so that the warps of a block have about as
// much to do: the one for which the busiest warp has the least. row_groups: of a block.
int tiles_of(int blocks, int row_groups) noexcept;

// Items that block `index` of `grid` takes: [begin, end).
struct Share {
  int begin;
  int end;
};
constexpr Share share_of(int items, int index, int grid) {
  const auto count = static_cast<uint32_t>(items);  // their product fits: millions by hundreds
  const auto blocks = static_cast<uint32_t>(grid);
  return {static_cast<int>(count * static_cast<uint32_t>(index) / blocks),
          static_cast<int>(count * static_cast<uint32_t>(index + 1) / blocks)};
}

// Bytes of shared memory that a program of these sizes needs besides its fixed parts.
struct TokenMemory {
  int act_bytes = 0;
  int partial_bytes = 0;
  bool fits = false;
};

struct TokenSizes {
  int most_blocks = 0;    // of any product's input
  int most_partials = 0;  // tiles of a block in any product
};
// fixed_bytes: what the kernel takes whatever the program.
TokenMemory plan_token_memory(const TokenSizes& sizes, int fixed_bytes,
                              const DeviceLimits& limits) noexcept;

// Into how many parts a token's positions are cut.
int token_splits(int kv_units, int positions, int grid) noexcept;

}  // namespace upg::kernels::cuda
