// The search over 16 chains at a time with AVX2.
#include <immintrin.h>

#include "codec/path_viterbi_simd.h"
#include "codec/path_viterbi_variants.h"

namespace upg::codec::viterbi {
namespace {

struct Lanes {
  static constexpr int kLanes = 8;
  __m256i v;

  static Lanes zero() { return {_mm256_setzero_si256()}; }
  static Lanes all(int32_t x) { return {_mm256_set1_epi32(x)}; }
  static Lanes broadcast(const int32_t* x) { return {_mm256_set1_epi32(*x)}; }
  static Lanes min(Lanes x, Lanes y) { return {_mm256_min_epi32(x.v, y.v)}; }
  friend Lanes operator+(Lanes x, Lanes y) { return {_mm256_add_epi32(x.v, y.v)}; }
  friend Lanes operator-(Lanes x, Lanes y) { return {_mm256_sub_epi32(x.v, y.v)}; }
  friend Lanes operator*(Lanes x, Lanes y) { return {_mm256_mullo_epi32(x.v, y.v)}; }
  friend Lanes operator|(Lanes x, Lanes y) { return {_mm256_or_si256(x.v, y.v)}; }
  Lanes index() const { return {_mm256_and_si256(v, _mm256_set1_epi32(kIndexMask))}; }
  Lanes clear_index() const { return {_mm256_and_si256(v, _mm256_set1_epi32(~kIndexMask))}; }
  Lanes low3() const { return {_mm256_and_si256(v, _mm256_set1_epi32(7))}; }
  Lanes shift_left(int n) const { return {_mm256_slli_epi32(v, n)}; }
  Lanes shift_right(Lanes counts) const { return {_mm256_srlv_epi32(v, counts.v)}; }

  // Bit 3 of `code` set ? x : y.
  static Lanes select_bit3(Lanes code, Lanes x, Lanes y) {
    const __m256i mask = _mm256_slli_epi32(code.v, 28);  // to the sign
    return {_mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(y.v), _mm256_castsi256_ps(x.v),
                                                 _mm256_castsi256_ps(mask)))};
  }
  static Lanes zero_where_equal(Lanes x, Lanes y, Lanes otherwise) {
    return {_mm256_andnot_si256(_mm256_cmpeq_epi32(x.v, y.v), otherwise.v)};
  }
  static Lanes quantise(const float* targets) {
    const __m256 limit = _mm256_set1_ps(kTargetLimit);
    const __m256 low = _mm256_max_ps(_mm256_loadu_ps(targets), _mm256_set1_ps(-kTargetLimit));
    const __m256 scaled = _mm256_mul_ps(_mm256_min_ps(low, limit), _mm256_set1_ps(kTargetScale));
    return {_mm256_cvtps_epi32(scaled)};
  }
  void store_bytes(uint8_t* out) const {
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(words, words));
  }
};

}  // namespace

void encode_avx2(const PathPalettes& palettes, const float* targets, int64_t count, int64_t stride,
                 uint8_t* codes) {
  encode_lanes<Lanes>(palettes, targets, count, stride, codes);
}

}  // namespace upg::codec::viterbi
