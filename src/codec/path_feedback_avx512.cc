// The search with feedback over 16 chains at a time with AVX-512 F.
#include <immintrin.h>

#include "codec/path_feedback_simd.h"
#include "codec/path_feedback_variants.h"

namespace upg::codec::feedback {
namespace {

struct Lanes {
  static constexpr int kLanes = 16;
  using Mask = __mmask16;
  using Index = __m512i;
  __m512 v;

  static Lanes load(const float* x) { return {_mm512_loadu_ps(x)}; }
  static Lanes all(float x) { return {_mm512_set1_ps(x)}; }
  static Index index(int x) { return _mm512_set1_epi32(x); }
  static Index load_index(const uint8_t* x) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
  }
  static void store_bytes(Index x, uint8_t* out) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(x));
  }
  friend Lanes operator+(Lanes x, Lanes y) { return {_mm512_add_ps(x.v, y.v)}; }
  friend Lanes operator-(Lanes x, Lanes y) { return {_mm512_sub_ps(x.v, y.v)}; }
  friend Lanes operator*(Lanes x, Lanes y) { return {_mm512_mul_ps(x.v, y.v)}; }
  static Mask less(Lanes x, Lanes y) { return _mm512_cmp_ps_mask(x.v, y.v, _CMP_LT_OQ); }
  static Mask equal(Index x, int n) { return _mm512_cmpeq_epi32_mask(x, _mm512_set1_epi32(n)); }
  static Lanes select(Mask m, Lanes x, Lanes y) { return {_mm512_mask_blend_ps(m, y.v, x.v)}; }
  static Index select(Mask m, Index x, Index y) { return _mm512_mask_blend_epi32(m, y, x); }
};

}  // namespace

void encode_avx512(const PathPalettes& palettes, const ChainMetric& metric, Closings closings,
                   const float* targets, int64_t count, int64_t stride, uint8_t* codes) {
  encode_lanes<Lanes>(palettes, metric, closings, targets, count, stride, codes);
}

}  // namespace upg::codec::feedback
