// Products of decoded integer weights with quantised activations, for any codec.
//
// A strand is the rows that share a register (kRowsPerVector of them, 16 bytes a row); the strands
// of a group of four rows lie side by side in every 64 bytes. A Source turns the bytes of one
// strand and block into eight vectors of 16 columns.
#pragma once

#include "kernels/cpu_ops.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kVectors = codec::kBlockColumns / 16;                   // a strand and block
constexpr int kStrandsPerGroup = codec::kGroupRows / kRowsPerVector;  // 1 or 2
constexpr int kStrandBytes = static_cast<int>(sizeof(Ints));          // of every 64
constexpr int kTileTokens = 16;                                       // inputs that are few
static_assert(kTileTokens + 1 == kTiledInputs);  // beyond them they meet panels, tile by tile
constexpr int64_t kPrefetchBytes = 4096;         // past the page end, where the hardware stops

}  // namespace
}  // namespace upg::kernels::UPG_ISA
