// The search over 32 chains at a time with AVX-512 F.
#include <immintrin.h>

#include "codec/path_viterbi_simd.h"
#include "codec/path_viterbi_variants.h"

namespace upg::codec::viterbi {
namespace {

struct Lanes {
  static constexpr int kLanes = 16;
  __m512i v;

  static Lanes zero() { return {_mm512_setzero_si512()}; }
  static Lanes all(int32_t x) { return {_mm512_set1_epi32(x)}; }
  static Lanes broadcast(const int32_t* x) { return {_mm512_set1_epi32(*x)}; }
  static Lanes min(Lanes x, Lanes y) { return {_mm512_min_epi32(x.v, y.v)}; }
  friend Lanes operator+(Lanes x, Lanes y) { return {_mm512_add_epi32(x.v, y.v)}; }
  friend Lanes operator-(Lanes x, Lanes y) { return {_mm512_sub_epi32(x.v, y.v)}; }
  friend Lanes operator*(Lanes x, Lanes y) { return {_mm512_mullo_epi32(x.v, y.v)}; }
  friend Lanes operator|(Lanes x, Lanes y) { return {_mm512_or_si512(x.v, y.v)}; }
  Lanes index() const { return {_mm512_and_si512(v, _mm512_set1_epi32(kIndexMask))}; }
  Lanes clear_index() const { return {_mm512_and_si512(v, _mm512_set1_epi32(~kIndexMask))}; }
  Lanes low3() const { return {_mm512_and_si512(v, _mm512_set1_epi32(7))}; }
  Lanes shift_left(int n) const { return {_mm512_slli_epi32(v, static_cast<unsigned>(n))}; }
  Lanes shift_right(Lanes counts) const { return {_mm512_srlv_epi32(v, counts.v)}; }

  // Bit 3 of `code` set ? x : y.
  static Lanes select_bit3(Lanes code, Lanes x, Lanes y) {
    return {
        _mm512_mask_blend_epi32(_mm512_test_epi32_mask(code.v, _mm512_set1_epi32(8)), y.v, x.v)};
  }
  static Lanes zero_where_equal(Lanes x, Lanes y, Lanes otherwise) {
    return {_mm512_maskz_mov_epi32(_mm512_cmpneq_epi32_mask(x.v, y.v), otherwise.v)};
  }
  static Lanes quantise(const float* targets) {
    const __m512 limit = _mm512_set1_ps(kTargetLimit);
    const __m512 low = _mm512_max_ps(_mm512_loadu_ps(targets), _mm512_set1_ps(-kTargetLimit));
    const __m512 scaled = _mm512_mul_ps(_mm512_min_ps(low, limit), _mm512_set1_ps(kTargetScale));
    return {_mm512_cvtps_epi32(scaled)};
  }
  void store_bytes(uint8_t* out) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(v));
  }
};

}  // namespace

void encode_avx512(const PathPalettes& palettes, const float* targets, int64_t count,
                   int64_t stride, uint8_t* codes) {
  encode_lanes<Lanes>(palettes, targets, count, stride, codes);
}

}  // namespace upg::codec::viterbi
