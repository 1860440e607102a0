// Products with bf16, f16 and f32 matrices in float32.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER
#include "kernels/cpu/float_tile.h"

namespace upg::kernels::UPG_ISA {
namespace {

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

struct RawProduct {
  const std::byte* w;  // [rows, cols]
  int64_t cols;
  FloatInput x;
  Output out;
};

// Rows and columns [.begin, .end) times all inputs.
template <class Element>
void multiply_part(const RawProduct& p, RowRange rows, RowRange columns) {
  const int64_t row_bytes = p.cols * Element::kBytes;
  const Piece piece = {.w = p.w + rows.begin * row_bytes + columns.begin * Element::kBytes,
                       .row_bytes = row_bytes,
                       .column = columns.begin,
                       .cols = columns.end - columns.begin,
                       .token = 0,
                       .tokens = 0,
                       .store = columns.begin == 0 ? p.out.store : Store::kAdd};
  multiply_pieces<Element>(piece, rows, p.x, p.out);
}

template <class Element>
void matmul_elements(const RawProduct& p, RowRange rows) {
  if (p.x.rows <= kTokensAtOnce) return multiply_part<Element>(p, rows, {0, p.cols});
  for (int64_t row = rows.begin; row < rows.end; row += kRowsAtOnce) {
    const RowRange some = {row, row + kRowsAtOnce < rows.end ? row + kRowsAtOnce : rows.end};
    for (int64_t c = 0; c < p.cols; c += kColumnsAtOnce) {
      multiply_part<Element>(p, some,
                             {c, c + kColumnsAtOnce < p.cols ? c + kColumnsAtOnce : p.cols});
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
