// Products of a decoded panel with many inputs.
//
// The panel's strands are turned so that a register holds four columns of kLanes rows; a dot
// product with the same four columns of one input then adds to one sum a row, with nothing to add
// up across lanes. Two such registers and the inputs of a tile keep all their sums in registers for
// a block of columns.
#pragma once

#include "kernels/cpu/strands.h"
#include "kernels/input_tiles.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kStrandsTurned = 4;                 // to one vector of rows a four columns
constexpr int kWords = codec::kBlockColumns / 4;  // four columns each, of a block
constexpr int kTurnedVectors = 2;                 // of rows, against one tile of inputs
constexpr int kTurnedRows = kTurnedVectors * kLanes;

// Blocks of kTurnedRows rows: [block][word][vector].
using TurnedBlock = Ints[kWords][kTurnedVectors];

// Strands [0, kTurnedVectors * kStrandsTurned) of one block, `stride` blocks apart.
template <int64_t kStride>
inline void turn_block(const Ints (*strands)[kVectors], TurnedBlock& to) {
  for (int v = 0; v < kTurnedVectors; ++v) {
    for (int k = 0; k < kVectors; ++k) {
      Ints words[kStrandsTurned];
      for (int s = 0; s < kStrandsTurned; ++s) {
        words[s] = load_bytes(&strands[(v * kStrandsTurned + s) * kStride][k]);
      }
      transpose_words(words);
      for (int j = 0; j < kStrandsTurned; ++j)
        store_bytes(&to[kStrandsTurned * k + j][v], words[j]);
    }
  }
}

// One tile of inputs: its columns of the panel, and what goes with them.
struct TurnedInputs {
  const int8_t* tiled;   // of the panel's first block
  const float* scale;    // of the first input and block
  const int32_t* start;  // likewise
  int64_t blocks;        // of a whole input: the distance of scale and start from input to input
};

// sums[input][vector] += the products of `blocks` blocks.
template <class Levels, int kInputs>
void multiply_turned(const TurnedBlock* w, int64_t blocks, const TurnedInputs& x,
                     Floats (&sums)[kInputs][kTurnedVectors]) {
  const int8_t* q = x.tiled;
  for (int64_t b = 0; b < blocks; ++b) {
    Ints dots[kInputs][kTurnedVectors];
#pragma GCC unroll 12
    for (int i = 0; i < kInputs; ++i) {
      const int32_t* first = x.start + 4 * (i * x.blocks + b);
      const Ints start = Levels::kOffset == 0 ? zero_ints() : load_for_all_lanes(first);
      for (Ints& dot : dots[i]) dot = start;
    }
#pragma GCC unroll 1
    for (int j = 0; j < kWords; ++j, q += 4 * kInputs) {
      const Ints w0 = w[b][j][0];
      const Ints w1 = w[b][j][1];
#pragma GCC unroll 12
      for (int i = 0; i < kInputs; ++i) {
        const Ints activations = load_for_all_lanes(q + 4 * i);
        Levels::add_dot(dots[i][0], w0, activations);
        Levels::add_dot(dots[i][1], w1, activations);
      }
    }
#pragma GCC unroll 12
    for (int i = 0; i < kInputs; ++i) {
      const Floats scale = splat(x.scale[i * x.blocks + b]);
      for (int v = 0; v < kTurnedVectors; ++v) {
        sums[i][v] = multiply_add(to_floats(dots[i][v]), scale, sums[i][v]);
      }
    }
  }
}

// The rows a sum belongs to, and how it is stored.
struct TurnedRows {
  int64_t begin;
  int64_t end;         // the rows of the product end here; may lie before the vector's last
  const float* scale;  // [rows]
  float unit;
};

// kLanes rows from `row` on of one input.
inline void store_turned(Floats sums, int64_t row, const TurnedRows& rows, const Output& out,
                         int64_t input) {
  const Floats scaled = in_row_order(sums) * splat(rows.unit);
  float* y = out.y + input * out.stride + row;
  const int64_t left = rows.end - row;
  if (left >= kLanes) {
    const Floats value = scaled * load(rows.scale + row);
    return store(y, out.store == Store::kAdd ? load(y) + value : value);
  }
  const int n = static_cast<int>(left);
  const Floats value = scaled * load_part(rows.scale + row, n);
  store_part(y, out.store == Store::kAdd ? load_part(y, n) + value : value, n);
}

template <class Levels, int kInputs>
void multiply_and_store_turned(const TurnedBlock* w, int64_t blocks, const TurnedInputs& x,
                               const TurnedRows& rows, const Output& out, int64_t input) {
  Floats sums[kInputs][kTurnedVectors];
  for (auto& of_input : sums) {
    for (Floats& sum : of_input) sum = zeros();
  }
  multiply_turned<Levels, kInputs>(w, blocks, x, sums);
  for (int i = 0; i < kInputs; ++i) {
    for (int v = 0; v < kTurnedVectors; ++v) {
      const int64_t row = rows.begin + v * kLanes;
      if (row < rows.end) store_turned(sums[i][v], row, rows, out, input + i);
    }
  }
}

// A tile of `inputs` inputs, at most kInputs of them.
template <class Levels, int kInputs = kTileInputs>
inline void multiply_inputs_turned(int64_t inputs, const TurnedBlock* w, int64_t blocks,
                                   const TurnedInputs& x, const TurnedRows& rows, const Output& out,
                                   int64_t input) {
  if (inputs == kInputs) {
    multiply_and_store_turned<Levels, kInputs>(w, blocks, x, rows, out, input);
  } else if constexpr (kInputs > 1) {
    multiply_inputs_turned<Levels, kInputs - 1>(inputs, w, blocks, x, rows, out, input);
  }
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
