// Products of float rows with float inputs.
//
// Vectors run along the columns of both sides: a tile of four rows and a few inputs keeps all its
// sums in registers, and weights are widened on the way in. Many inputs go through it in pieces
// that the caches hold.
#pragma once

#include "kernels/cpu_ops.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kTileRows = 4;
constexpr int kLineBytes = 64;

struct F32 {
  static constexpr int kBytes = 4;
  static Floats load(const std::byte* p) { return load_f32(p); }
};

// n < kLanes elements, the rest zero.
template <class Element>
inline Floats load_rest(const std::byte* p, int64_t n) {
  std::byte bytes[kLanes * Element::kBytes] = {};
  __builtin_memcpy(bytes, p, static_cast<size_t>(n) * Element::kBytes);
  return Element::load(bytes);
}

// Where a tile lies: its first row's and input's first column, and how many columns.
struct Tile {
  const std::byte* w;
  int64_t row_bytes;
  const float* x;
  int64_t stride;
  int64_t cols;
  int64_t ahead;  // bytes from what is multiplied to what is asked from memory meanwhile
};

// kLanes columns: the inputs stay in registers while the rows' weights pass one by one.
template <int kRows, int kTokens, class Weights>
inline __attribute__((always_inline)) void multiply_columns(const Weights& weights,
                                                            const Tile& tile, int64_t c,
                                                            Floats (&sums)[kTokens][kTileRows]) {
  Floats x[kTokens];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) x[t] = load(tile.x + t * tile.stride + c);
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const Floats w = weights(tile.w + r * tile.row_bytes);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) sums[t][r] = multiply_add(w, x[t], sums[t][r]);
  }
}

// products[t]: those of kRows rows with input t (zero beyond kRows). Unrolled to the end: sums that
// one loop indexes lie in memory, not in registers.
template <class Element, int kRows, int kTokens>
inline __attribute__((always_inline)) void multiply_tile(const Tile& tile,
                                                         Quad (&products)[kTokens]) {
  constexpr int kLineColumns = kLineBytes / Element::kBytes;
  Floats sums[kTokens][kTileRows];
#pragma GCC unroll 8
  for (auto& of_token : sums) {
#pragma GCC unroll 4
    for (Floats& sum : of_token) sum = zeros();
  }
  int64_t c = 0;
  while (c + kLanes <= tile.cols) {
    for (int r = 0; r < kRows; ++r) {
      __builtin_prefetch(tile.w + r * tile.row_bytes + c * Element::kBytes + tile.ahead);
    }
    const int64_t end = c + kLineColumns < tile.cols ? c + kLineColumns : tile.cols;
    for (; c + kLanes <= end; c += kLanes) {
      const auto whole = [c](const std::byte* row) {
        return Element::load(row + c * Element::kBytes);
      };
      multiply_columns<kRows, kTokens>(whole, tile, c, sums);
    }
  }
  if (c < tile.cols) {
    const auto rest = [&](const std::byte* row) {
      return load_rest<Element>(row + c * Element::kBytes, tile.cols - c);
    };
    multiply_columns<kRows, kTokens>(rest, tile, c, sums);
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    products[t] = sums_of_four(sums[t][0], sums[t][1], sums[t][2], sums[t][3]);
  }
}

template <class Element, int kRows, int kTokens>
void multiply_and_store(const Tile& tile, float* y, int64_t stride, Store how) {
  Quad products[kTokens];
  multiply_tile<Element, kRows, kTokens>(tile, products);
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    float* to = y + t * stride;
    if constexpr (kRows == kTileRows) {
      store_quad(to, how == Store::kAdd ? add_quads(load_quad(to), products[t]) : products[t]);
      continue;
    }
    float values[kTileRows];
    store_quad(values, products[t]);
    for (int r = 0; r < kRows; ++r) to[r] = how == Store::kAdd ? to[r] + values[r] : values[r];
  }
}

// A tile of `tokens` inputs, at most kTokens of them.
template <class Element, int kRows, int kTokens>
inline void multiply_inputs(int tokens, const Tile& tile, float* y, int64_t stride, Store how) {
  if (tokens == kTokens) {
    multiply_and_store<Element, kRows, kTokens>(tile, y, stride, how);
  } else if constexpr (kTokens > 1) {
    multiply_inputs<Element, kRows, kTokens - 1>(tokens, tile, y, stride, how);
  }
}

// Rows of a matrix, `row_bytes` apart, and their share of the product: `cols` columns times inputs
// [.token, .token + .tokens) from column `column` on, into y[token, row].
struct Piece {
  const std::byte* w;
  int64_t row_bytes;
  int64_t column;
  int64_t cols;
  int64_t token;
  int tokens;  // at most kTokensAtOnce
  Store store;
  int64_t rows_ahead;  // to those that the first inputs ask for from memory
};

template <class Element>
void multiply_piece(const Piece& p, RowRange rows, const FloatInput& x, const Output& out) {
  Tile tile = {.w = p.w,
               .row_bytes = p.row_bytes,
               .x = x.x + p.token * x.stride + p.column,
               .stride = x.stride,
               .cols = p.cols,
               .ahead = p.token == 0 ? p.rows_ahead * p.row_bytes : 0};
  float* y = out.y + p.token * out.stride;
  int64_t row = rows.begin;
  for (; row + kTileRows <= rows.end; row += kTileRows, tile.w += kTileRows * p.row_bytes) {
    multiply_inputs<Element, kTileRows, kTokensAtOnce>(p.tokens, tile, y + row, out.stride,
                                                       p.store);
  }
  for (; row < rows.end; ++row, tile.w += p.row_bytes) {
    multiply_inputs<Element, 1, kTokensAtOnce>(p.tokens, tile, y + row, out.stride, p.store);
  }
}

// All inputs, some at a time.
template <class Element>
void multiply_pieces(Piece p, RowRange rows, const FloatInput& x, const Output& out) {
  for (p.token = 0; p.token < x.rows; p.token += kTokensAtOnce) {
    const int64_t left = x.rows - p.token;
    p.tokens = static_cast<int>(left < kTokensAtOnce ? left : kTokensAtOnce);
    multiply_piece<Element>(p, rows, x, out);
  }
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
