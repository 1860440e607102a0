// The search with feedback over 8 chains at a time with AVX2.
#include <immintrin.h>

#include "codec/path_feedback_simd.h"
#include "codec/path_feedback_variants.h"

namespace upg::codec::feedback {
namespace {

struct Lanes {
  static constexpr int kLanes = 8;
  using Mask = __m256;
  using Index = __m256i;
  __m256 v;

  static Lanes load(const float* x) { return {_mm256_loadu_ps(x)}; }
  static Lanes all(float x) { return {_mm256_set1_ps(x)}; }
  static Index index(int x) { return _mm256_set1_epi32(x); }
  static Index load_index(const uint8_t* x) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
  }
  static void store_bytes(Index x, uint8_t* out) {
    const __m128i pairs =
        _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(pairs, pairs));
  }
  friend Lanes operator+(Lanes x, Lanes y) { return {_mm256_add_ps(x.v, y.v)}; }
  friend Lanes operator-(Lanes x, Lanes y) { return {_mm256_sub_ps(x.v, y.v)}; }
  friend Lanes operator*(Lanes x, Lanes y) { return {_mm256_mul_ps(x.v, y.v)}; }
  static Mask less(Lanes x, Lanes y) { return _mm256_cmp_ps(x.v, y.v, _CMP_LT_OQ); }
  static Mask equal(Index x, int n) {
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(x, _mm256_set1_epi32(n)));
  }
  static Lanes select(Mask m, Lanes x, Lanes y) { return {_mm256_blendv_ps(y.v, x.v, m)}; }
  static Index select(Mask m, Index x, Index y) {
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(y), _mm256_castsi256_ps(x), m));
  }
};

}  // namespace

void encode_avx2(const PathPalettes& palettes, const ChainMetric& metric, Closings closings,
                 const float* targets, int64_t count, int64_t stride, uint8_t* codes) {
  encode_lanes<Lanes>(palettes, metric, closings, targets, count, stride, codes);
}

}  // namespace upg::codec::feedback
