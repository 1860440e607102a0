// Products with bf16, f16 and f32 matrices in float32.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER
#include "kernels/cpu/float_tile.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int64_t kRowsAtOnce = 32;       // against one tile of inputs, from the second cache
constexpr int64_t kColumnsAtOnce = 2048;  // of a tile of inputs, in the second cache
constexpr int64_t kBytesAhead = 8192;     // that few inputs ask for what comes next

struct Bf16 {
  static constexpr int kBytes = 2;
  static Floats load(const std::byte* p) { return load_bf16(p); }
};
struct F16 {
  static constexpr int kBytes = 2;
  static Floats load(const std::byte* p) { return load_f16(p); }
};

struct RawProduct {
  const std::byte* w;  // [rows, cols]
  int64_t cols;
  FloatInput x;
  Output out;
};

// How many rows go with a run of columns, and how far ahead others are asked for.
struct Steps {
  int64_t rows;
  int64_t ahead;
};

// Many inputs meet some rows with one run of columns, then the next; few take as much of the rows
// as there is, as it comes from memory.
Steps steps_of(const RawProduct& p, RowRange rows, int64_t row_bytes) {
  if (p.x.rows > kTokensAtOnce) return {kRowsAtOnce, kRowsAtOnce};
  const int64_t tile = kTileRows * row_bytes;
  const int64_t ahead = kTileRows * ((kBytesAhead + tile - 1) / tile);
  return {p.cols <= kColumnsAtOnce ? rows.end - rows.begin : kTileRows, ahead};
}

// Runs of columns are added in the same order for any number of inputs: one alone and beside others
// has the same products to the last bit.
template <class Element>
void matmul_elements(const RawProduct& p, RowRange rows) {
  const int64_t row_bytes = p.cols * Element::kBytes;
  const Steps steps = steps_of(p, rows, row_bytes);
  for (int64_t row = rows.begin; row < rows.end; row += steps.rows) {
    const RowRange some = {row, row + steps.rows < rows.end ? row + steps.rows : rows.end};
    for (int64_t c = 0; c < p.cols; c += kColumnsAtOnce) {
      const int64_t left = p.cols - c;
      const Piece piece = {.w = p.w + row * row_bytes + c * Element::kBytes,
                           .row_bytes = row_bytes,
                           .column = c,
                           .cols = left < kColumnsAtOnce ? left : kColumnsAtOnce,
                           .token = 0,
                           .tokens = 0,
                           .store = c == 0 ? p.out.store : Store::kAdd,
                           .rows_ahead = steps.ahead};
      multiply_pieces<Element>(piece, some, p.x, p.out);
    }
  }
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
