// What the token kernel (token.cu) is told: one program a model, a few numbers a token. Plain data
// shared by host and device.
//
// The kernel runs on every multiprocessor at once. In each block one warp, the producer, walks all
// products of the token in order and brings the block's share of their codes through a ring in
// shared memory, never waiting for anything but room; the other warps compute and meet the other
// blocks between products. So the codes of the next product arrive while the present one ends.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/geometry.h"
#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {

inline constexpr int kTokenWarps = 15;  // that compute; one more brings codes
inline constexpr int kTokenThreads = 32 * (kTokenWarps + 1);
inline constexpr int kTileBytes = 4608;             // of codes, at most
inline constexpr int kSlotBytes = kTileBytes + 16;  // of the ring: a tile and its rows' scales
inline constexpr int kInputBlocks = 4;              // blocks of an input a warp prepares at most
inline constexpr int kFewRounds = 3;                // of most models; kept apart to keep them short
inline constexpr int kBlockStride = 144;  // bytes from block to block of activations: no two
                                          // rows of a warp's blocks meet in one bank
inline constexpr int kPhaseEntries = 8;   // phases described in shared memory at a time
inline constexpr int kMaxHalfRotary = 64;
inline constexpr int kTokenHeads = 4;  // heads of a kv head that a block takes at once

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
  // The block's items, [begin, end): filled in by the producer.
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
  int32_t slots;          // of the ring
  int32_t in_flight;      // tiles asked for and not yet there, at most
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

// Row groups of a tile's blocks: as many as fit a slot and whole turns of a warp.
constexpr int tile_blocks_of(int vectors) { return kTileBytes / (64 * vectors) / 8 * 8; }

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

// Bytes of shared memory that a program of these sizes needs besides the ring.
struct TokenMemory {
  int act_bytes = 0;
  int partial_bytes = 0;
  int slots = 0;  // what is left for the ring; the program cannot run below kMinSlots
};
// More would not be faster. A warp that waits for a tile relies on the slot's tile before it being
// there already: it comes from one turn of the warps before, and no more than so many are missing.
inline constexpr int kTilesInFlight = 16;
inline constexpr int kMinSlots = kTokenWarps + kTilesInFlight;

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
