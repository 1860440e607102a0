// The vector layer on 256-bit registers (AVX2, FMA, F16C). simd_avx512.h offers the same names and
// explains why everything is static.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace upg::kernels::UPG_ISA {

using Ints = __m256i;
using Floats = __m256;
using Quad = __m128;  // four floats

constexpr int kLanes = 8;          // floats in a register
constexpr int kRowsPerVector = 2;  // interleaved rows in a register: 16 bytes each
constexpr int kStrandsAtOnce = 1;  // decoded strands that fit the registers (8 vectors each)
constexpr int kLaneStrands = 4;    // whose rows' sums fit a register
constexpr int kTokensAtOnce = 3;   // tokens a float tile of four rows keeps in registers

// ---- bytes -------------------------------------------------------------------------------------

static inline Ints load_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
static inline void store_bytes(void* p, Ints v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), v);
}
static inline Ints splat_bytes(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
// The same 16 bytes for every row.
static inline Ints load_for_all_rows(const void* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
// The same 4 bytes for every 32-bit lane.
static inline Ints load_for_all_lanes(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return _mm256_set1_epi32(word);
}
static inline Ints and_bits(Ints a, Ints b) { return _mm256_and_si256(a, b); }
static inline Ints or_bits(Ints a, Ints b) { return _mm256_or_si256(a, b); }
static inline Ints xor_bits(Ints a, Ints b) { return _mm256_xor_si256(a, b); }
// Shifts 16-bit words; the caller masks what crosses a byte.
template <int kBits>
static inline Ints shift_right(Ints v) {
  return _mm256_srli_epi16(v, kBits);
}
static inline Ints low_nibbles(Ints v) { return and_bits(v, splat_bytes(0x0f)); }
static inline Ints high_nibbles(Ints v) { return and_bits(shift_right<4>(v), splat_bytes(0x0f)); }
// The same as indices of look_up(), from bytes whose bits 3 and 7 are clear.
static inline Ints low_indices(Ints v) { return v; }
static inline Ints high_indices(Ints v) { return shift_right<4>(v); }
static inline Ints look_up(Ints table, Ints index) { return _mm256_shuffle_epi8(table, index); }
static inline Ints add_bytes(Ints a, Ints b) { return _mm256_add_epi8(a, b); }
// Every row's four 32-bit words move up by one; the last comes first.
static inline Ints rotate_words(Ints v) { return _mm256_shuffle_epi32(v, 0x93); }
// In every row, 32-bit word i of v[j] changes places with word j of v[i].
static inline void transpose_words(Ints (&v)[4]) {
  const Ints low01 = _mm256_unpacklo_epi32(v[0], v[1]);
  const Ints high01 = _mm256_unpackhi_epi32(v[0], v[1]);
  const Ints low23 = _mm256_unpacklo_epi32(v[2], v[3]);
  const Ints high23 = _mm256_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm256_unpacklo_epi64(low01, low23);
  v[1] = _mm256_unpackhi_epi64(low01, low23);
  v[2] = _mm256_unpacklo_epi64(high01, high23);
  v[3] = _mm256_unpackhi_epi64(high01, high23);
}
// `value` in the first 32-bit lane, zero in the others.
static inline Ints first_lane(int32_t value) {
  return _mm256_zextsi128_si256(_mm_cvtsi32_si128(value));
}
// The 4-bit codes of half a register's bytes, low nibble first, a byte each.
static inline Ints unpack_nibbles(const uint8_t* p) {
  const __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return low_nibbles(or_bits(words, _mm256_slli_epi16(words, 4)));
}
// to[i] = from[pattern[i]], zero where the pattern has bit 7 set, for eight bytes.
static inline void shuffle_eight(const uint8_t* from, const uint8_t* pattern, uint8_t* to) {
  const auto eight = [](const uint8_t* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  };
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_shuffle_epi8(eight(from), eight(pattern)));
}

// ---- floats ------------------------------------------------------------------------------------

static inline Floats zeros() { return _mm256_setzero_ps(); }
static inline Floats splat(float v) { return _mm256_set1_ps(v); }
static inline Floats load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
static inline __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
// The first n < kLanes floats; the others read as zero and are never touched in memory.
static inline Floats load_part(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
static inline void store_part(float* p, Floats v, int n) { _mm256_maskstore_ps(p, first(n), v); }
// p[index[i]] for kLanes indices.
static inline Floats gather_floats(const float* p, const int32_t* index) {
  return _mm256_i32gather_ps(p, load_bytes(index), 4);
}
static inline Floats to_floats(Ints v) { return _mm256_cvtepi32_ps(v); }
static inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
// c - a * b
static inline Floats negated_multiply_add(Floats a, Floats b, Floats c) {
  return _mm256_fnmadd_ps(a, b, c);
}
// The larger and the smaller; b where either is not a number.
static inline Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
static inline Floats smaller(Floats a, Floats b) { return _mm256_min_ps(a, b); }
static inline Floats magnitude(Floats v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }
static inline Floats round_to_even(Floats v) {
  return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// v * 2^n for whole n in -150 ... 128, in two steps because such powers alone are no normal
// numbers.
static inline Floats times_power_of_two(Floats v, Floats n) {
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  const auto power = [](__m256i e) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
  };
  return v * power(half) * power(_mm256_sub_epi32(whole, half));
}
static inline __m128 halves(Floats v) {
  return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}
static inline float sum_of_lanes(Floats v) {
  const __m128 q = halves(v);
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}
static inline float largest(Floats v) {
  const __m128 q = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(d, _mm_shuffle_ps(d, d, 1)));
}
// The sums of four registers, side by side.
static inline Quad sums_of_four(Floats a, Floats b, Floats c, Floats d) {
  const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return halves(all);
}
static inline Quad load_quad(const float* p) { return _mm_loadu_ps(p); }
static inline Quad add_quads(Quad a, Quad b) { return _mm_add_ps(a, b); }
static inline void store_quad(float* p, Quad v) { _mm_storeu_ps(p, v); }
// Lane 4 * row + strand moves to lane kRowsPerVector * strand + row: what transpose_words() of four
// strands gives, in the order of the rows.
static inline Floats in_row_order(Floats v) {
  return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// ---- other element types, kLanes at a time -----------------------------------------------------

static inline Floats load_f32(const void* p) {
  return _mm256_loadu_ps(static_cast<const float*>(p));
}
static inline Floats load_bf16(const void* p) {
  const __m128i bits = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
static inline Floats load_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
static inline Floats load_int8(const void* p) {
  return to_floats(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
}
static inline void store_f16(void* p, Floats v) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
static inline float half_to_float(uint16_t bits) { return _cvtsh_ss(bits); }
static inline uint16_t float_to_half(float v) {  // rounds half to even
  return _cvtss_sh(v, _MM_FROUND_TO_NEAREST_INT);
}
// Rounds half to even, v within +-127; what was stored is added to the 32-bit lanes of `sums`.
static inline Ints store_int8(void* p, Floats v, Ints sums) {
  const __m256i whole = _mm256_cvtps_epi32(v);
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  return _mm256_add_epi32(sums, whole);
}
// Lane 4 * row + j, j < kLaneStrands: the sum of the four lanes of `row` in v[j].
static inline Ints add_lanes(const Ints* v) {
  const auto pairs = [](Ints a, Ints b) {
    return _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  };
  const Ints low = pairs(v[0], v[1]), high = pairs(v[2], v[3]);
  return _mm256_add_epi32(_mm256_unpacklo_epi64(low, high), _mm256_unpackhi_epi64(low, high));
}
static inline Ints zero_ints() { return _mm256_setzero_si256(); }
static inline int32_t sum_ints(Ints v) {
  const __m128i q = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i d = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(d, _mm_shuffle_epi32(d, 0xb1)));
}

// ---- signs and butterflies ---------------------------------------------------------------------

// Flips the lanes whose bit is set in the kLanes bits from bit `at` (a multiple of kLanes, least
// significant first) of `signs` on.
static inline Floats flip_signs(Floats v, const uint8_t* signs, int64_t at) {
  const __m256i shifts = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
  const __m256i bits = _mm256_sllv_epi32(_mm256_set1_epi32(signs[at / 8]), shifts);
  return _mm256_xor_ps(v, _mm256_and_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(-0.0f)));
}
// Lane i becomes v[i] + v[i + s] where i has bit s clear, v[i - s] - v[i] where it is set:
// all three stages s = 1, 2, 4.
static inline Floats butterflies(Floats v) {
  Floats other = _mm256_permute_ps(v, 0xb1);
  v = _mm256_blend_ps(other + v, other - v, 0xaa);
  other = _mm256_permute_ps(v, 0x4e);
  v = _mm256_blend_ps(other + v, other - v, 0xcc);
  other = _mm256_permute2f128_ps(v, v, 1);
  return _mm256_blend_ps(other + v, other - v, 0xf0);
}

}  // namespace upg::kernels::UPG_ISA
