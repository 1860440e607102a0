// Products with bf16, f16 and f32 matrices in float32.
//
// Vectors run along the columns of both sides: a tile of four rows and a few inputs keeps all its
// sums in registers, and weights are widened on the way in. Many inputs go through it in pieces
// that the caches hold.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kTileRows = 4;
constexpr int64_t kRowsAtOnce = 32;       // against one tile of inputs, from the second cache
constexpr int64_t kColumnsAtOnce = 1024;  // of a tile of inputs, in the first cache

struct Bf16 {
  static constexpr int kBytes = 2;
  static Floats load(const std::byte* p) { return load_bf16(p); }
};
struct F16 {
  static constexpr int kBytes = 2;
  static Floats load(const std::byte* p) { return load_f16(p); }
};
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

// products[t]: those of kRows rows with input t (zero beyond kRows).
template <class Element, int kRows, int kTokens>
inline void multiply_tile(const Tile& tile, __m128 (&products)[kTokens]) {
  Floats sums[kTokens][kTileRows];
  for (auto& of_token : sums) {
    for (Floats& sum : of_token) sum = zeros();
  }
  int64_t c = 0;
  for (; c + kLanes <= tile.cols; c += kLanes) {
    const auto whole = [c](const std::byte* row) {
      return Element::load(row + c * Element::kBytes);
    };
    multiply_columns<kRows, kTokens>(whole, tile, c, sums);
  }
  if (c < tile.cols) {
    const auto rest = [&](const std::byte* row) {
      return load_rest<Element>(row + c * Element::kBytes, tile.cols - c);
    };
    multiply_columns<kRows, kTokens>(rest, tile, c, sums);
  }
  for (int t = 0; t < kTokens; ++t) {
    products[t] = sums_of_four(sums[t][0], sums[t][1], sums[t][2], sums[t][3]);
  }
}

template <class Element, int kRows, int kTokens>
void multiply_and_store(const Tile& tile, float* y, int64_t stride, Store how) {
  __m128 products[kTokens];
  multiply_tile<Element, kRows, kTokens>(tile, products);
  for (int t = 0; t < kTokens; ++t) {
    float values[kTileRows];
    _mm_storeu_ps(values, products[t]);
    for (int r = 0; r < kRows; ++r) {
      float& to = y[t * stride + r];
      to = how == Store::kAdd ? to + values[r] : values[r];
    }
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

struct RawProduct {
  const std::byte* w;  // [rows, cols]
  int64_t cols;
  FloatInput x;
  Output out;
};

// Rows and columns [.begin, .end) times inputs [token, token + tokens).
template <class Element>
void multiply_piece(const RawProduct& p, RowRange rows, RowRange columns, int64_t token,
                    int tokens) {
  const int64_t row_bytes = p.cols * Element::kBytes;
  const Store how = columns.begin == 0 ? p.out.store : Store::kAdd;
  Tile tile = {p.w + rows.begin * row_bytes + columns.begin * Element::kBytes, row_bytes,
               p.x.x + token * p.x.stride + columns.begin, p.x.stride, columns.end - columns.begin};
  float* y = p.out.y + token * p.out.stride;
  int64_t row = rows.begin;
  for (; row + kTileRows <= rows.end; row += kTileRows, tile.w += kTileRows * row_bytes) {
    multiply_inputs<Element, kTileRows, kTokensAtOnce>(tokens, tile, y + row, p.out.stride, how);
  }
  for (; row < rows.end; ++row, tile.w += row_bytes) {
    multiply_inputs<Element, 1, kTokensAtOnce>(tokens, tile, y + row, p.out.stride, how);
  }
}

template <class Element>
void multiply_many(const RawProduct& p, RowRange rows) {
  for (int64_t row = rows.begin; row < rows.end; row += kRowsAtOnce) {
    const RowRange some = {row, row + kRowsAtOnce < rows.end ? row + kRowsAtOnce : rows.end};
    for (int64_t c = 0; c < p.cols; c += kColumnsAtOnce) {
      const RowRange columns = {c, c + kColumnsAtOnce < p.cols ? c + kColumnsAtOnce : p.cols};
      for (int64_t token = 0; token < p.x.rows; token += kTokensAtOnce) {
        const int64_t left = p.x.rows - token;
        const int tokens = static_cast<int>(left < kTokensAtOnce ? left : kTokensAtOnce);
        multiply_piece<Element>(p, some, columns, token, tokens);
      }
    }
  }
}

template <class Element>
void matmul_elements(const RawProduct& p, RowRange rows) {
  if (p.x.rows > kTokensAtOnce) return multiply_many<Element>(p, rows);
  multiply_piece<Element>(p, rows, {0, p.cols}, 0, static_cast<int>(p.x.rows));
}

}  // namespace

void matmul_raw(const codec::RawMatrix& w, int64_t cols, RowRange rows, const FloatInput& x,
                const Output& out) noexcept {
  const RawProduct product = {w.data, cols, x, out};
  if (w.dtype == base::DType::kF32) return matmul_elements<F32>(product, rows);
  if (w.dtype == base::DType::kF16) return matmul_elements<F16>(product, rows);
  matmul_elements<Bf16>(product, rows);
}

}  // namespace upg::kernels::UPG_ISA
