// Products with int8 matrices: one level a byte, no palettes.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER
#include "kernels/cpu/integer_matmul.h"

namespace upg::kernels::UPG_ISA {
namespace {

struct Int8Source {
  using Levels = ByteLevels;
  static constexpr int kBlockBytes = 64 * kVectors;

  inline __attribute__((always_inline)) void load(const uint8_t* at, Ints* w,
                                                  int64_t ahead = kPrefetchBytes) const {
    for (int k = 0; k < kVectors; ++k) {
      __builtin_prefetch(at + 64 * k + ahead);
      w[k] = Levels::from_codes(load_bytes(at + 64 * k));
    }
  }
};

}  // namespace

void matmul_int8(const codec::Int8Matrix& w, int64_t, RowRange rows, const QuantisedInput& x,
                 const Output& out) noexcept {
  multiply_codes(Int8Source{}, codes_product(w.codes, Int8Source::kBlockBytes, w.scale,
                                             1.0f / 127.0f, rows, x, out));
}

void matmul_int8_float(const codec::Int8Matrix& w, int64_t, RowRange rows, const FloatInput& x,
                       const Output& out) noexcept {
  multiply_codes(Int8Source{}, codes_product(w.codes, Int8Source::kBlockBytes, w.scale,
                                             1.0f / 127.0f, rows, x, out));
}

}  // namespace upg::kernels::UPG_ISA
