// Products with path2, path3 and path4 matrices, and their dense rows.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER
#include "kernels/cpu/integer_matmul.h"
#include "kernels/cpu/path_dense.h"

namespace upg::kernels::UPG_ISA {
namespace {

template <int kBits, bool kTwo, class Input>
void matmul_bits(const codec::PathMatrix& w, RowRange rows, const Input& x, const Output& out) {
  using Source = PathSource<kBits, kTwo>;
  multiply_codes(Source(w),
                 codes_product(w.codes, Source::kBlockBytes, w.scale, 1.0f / 63.0f, rows, x, out));
}

template <bool kTwo, class Input>
void matmul_palettes(const codec::PathMatrix& w, RowRange rows, const Input& x, const Output& out) {
  if (w.bits == 2) return matmul_bits<2, kTwo>(w, rows, x, out);
  if (w.bits == 3) return matmul_bits<3, kTwo>(w, rows, x, out);
  matmul_bits<4, kTwo>(w, rows, x, out);
}

template <int kBits>
void decode_bits(const codec::PathMatrix& w, int64_t blocks, int64_t first, int64_t count,
                 float* out) {
  if (w.two_palettes) {
    return decode_strands(PathSource<kBits, true>(w), w, blocks, first, count, out);
  }
  decode_strands(PathSource<kBits, false>(w), w, blocks, first, count, out);
}

}  // namespace

void decode_path(const codec::PathMatrix& w, int64_t blocks, int64_t first, int64_t count,
                 float* out) noexcept {
  if (w.bits == 2) return decode_bits<2>(w, blocks, first, count, out);
  if (w.bits == 3) return decode_bits<3>(w, blocks, first, count, out);
  decode_bits<4>(w, blocks, first, count, out);
}

void matmul_path(const codec::PathMatrix& w, int64_t, RowRange rows, const QuantisedInput& x,
                 const Output& out) noexcept {
  if (w.two_palettes) return matmul_palettes<true>(w, rows, x, out);
  matmul_palettes<false>(w, rows, x, out);
}

void matmul_path_float(const codec::PathMatrix& w, int64_t, RowRange rows, const FloatInput& x,
                       const Output& out) noexcept {
  if (w.two_palettes) return matmul_palettes<true>(w, rows, x, out);
  matmul_palettes<false>(w, rows, x, out);
}

}  // namespace upg::kernels::UPG_ISA
