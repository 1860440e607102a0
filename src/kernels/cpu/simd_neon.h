// The vector layer on 128-bit registers (ARM NEON as every AArch64 processor has it): one row a
// vector. simd_avx512.h offers the same names and explains why everything is static.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace upg::kernels::UPG_ISA {

using Ints = uint8x16_t;
using Floats = float32x4_t;
using Quad = float32x4_t;  // four floats

constexpr int kLanes = 4;          // floats in a register
constexpr int kRowsPerVector = 1;  // interleaved rows in a register: 16 bytes each
constexpr int kStrandsAtOnce = 2;  // decoded strands that fit the registers (8 vectors each)
constexpr int kLaneStrands = 4;    // whose rows' sums fit a register
constexpr int kTokensAtOnce = 5;   // tokens a float tile of four rows keeps in registers

// ---- bytes -------------------------------------------------------------------------------------

static inline Ints load_bytes(const void* p) { return vld1q_u8(static_cast<const uint8_t*>(p)); }
static inline void store_bytes(void* p, Ints v) { vst1q_u8(static_cast<uint8_t*>(p), v); }
static inline Ints splat_bytes(int v) { return vdupq_n_u8(static_cast<uint8_t>(v)); }
// The same 16 bytes for every row.
static inline Ints load_for_all_rows(const void* p) { return load_bytes(p); }
// The same 4 bytes for every 32-bit lane.
static inline Ints load_for_all_lanes(const void* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return vreinterpretq_u8_u32(vdupq_n_u32(word));
}
static inline Ints and_bits(Ints a, Ints b) { return vandq_u8(a, b); }
static inline Ints or_bits(Ints a, Ints b) { return vorrq_u8(a, b); }
static inline Ints xor_bits(Ints a, Ints b) { return veorq_u8(a, b); }
// The caller masks what another layer's shift of 16-bit words lets cross a byte; this one shifts
// bytes.
template <int kBits>
static inline Ints shift_right(Ints v) {
  return vshrq_n_u8(v, kBits);
}
static inline Ints low_nibbles(Ints v) { return vandq_u8(v, vdupq_n_u8(0x0f)); }
static inline Ints high_nibbles(Ints v) { return vshrq_n_u8(v, 4); }
// The same as indices of look_up(), from bytes whose bits 3 and 7 are clear.
static inline Ints low_indices(Ints v) { return low_nibbles(v); }
static inline Ints high_indices(Ints v) { return high_nibbles(v); }
static inline Ints look_up(Ints table, Ints index) { return vqtbl1q_u8(table, index); }
static inline Ints add_bytes(Ints a, Ints b) { return vaddq_u8(a, b); }
// Every row's four 32-bit words move up by one; the last comes first.
static inline Ints rotate_words(Ints v) { return vextq_u8(v, v, 12); }
// In every row, 32-bit word i of v[j] changes places with word j of v[i].
static inline void transpose_words(Ints (&v)[4]) {
  const auto words = [&](int i) { return vreinterpretq_u32_u8(v[i]); };
  const auto pair = [](uint32x4_t x) { return vreinterpretq_u64_u32(x); };
  const uint64x2_t even01 = pair(vtrn1q_u32(words(0), words(1)));
  const uint64x2_t odd01 = pair(vtrn2q_u32(words(0), words(1)));
  const uint64x2_t even23 = pair(vtrn1q_u32(words(2), words(3)));
  const uint64x2_t odd23 = pair(vtrn2q_u32(words(2), words(3)));
  v[0] = vreinterpretq_u8_u64(vtrn1q_u64(even01, even23));
  v[1] = vreinterpretq_u8_u64(vtrn1q_u64(odd01, odd23));
  v[2] = vreinterpretq_u8_u64(vtrn2q_u64(even01, even23));
  v[3] = vreinterpretq_u8_u64(vtrn2q_u64(odd01, odd23));
}
// `value` in the first 32-bit lane, zero in the others.
static inline Ints first_lane(int32_t value) {
  return vreinterpretq_u8_s32(vsetq_lane_s32(value, vdupq_n_s32(0), 0));
}
// The 4-bit codes of half a register's bytes, low nibble first, a byte each.
static inline Ints unpack_nibbles(const uint8_t* p) {
  const uint8x16_t bytes = vcombine_u8(vld1_u8(p), vdup_n_u8(0));
  return vzip1q_u8(low_nibbles(bytes), high_nibbles(bytes));
}
// to[i] = from[pattern[i]], zero where the pattern is not below 8, for eight bytes.
static inline void shuffle_eight(const uint8_t* from, const uint8_t* pattern, uint8_t* to) {
  vst1_u8(to, vtbl1_u8(vld1_u8(from), vld1_u8(pattern)));
}

// ---- floats ------------------------------------------------------------------------------------

static inline Floats zeros() { return vdupq_n_f32(0); }
static inline Floats splat(float v) { return vdupq_n_f32(v); }
static inline Floats load(const float* p) { return vld1q_f32(p); }
static inline void store(float* p, Floats v) { vst1q_f32(p, v); }
// The first n < kLanes floats; the others read as zero and are never touched in memory.
static inline Floats load_part(const float* p, int n) {
  float values[kLanes] = {};
  for (int i = 0; i < n; ++i) values[i] = p[i];
  return load(values);
}
static inline void store_part(float* p, Floats v, int n) {
  float values[kLanes];
  store(values, v);
  for (int i = 0; i < n; ++i) p[i] = values[i];
}
// p[index[i]] for kLanes indices.
static inline Floats gather_floats(const float* p, const int32_t* index) {
  const float values[kLanes] = {p[index[0]], p[index[1]], p[index[2]], p[index[3]]};
  return load(values);
}
static inline Floats to_floats(Ints v) { return vcvtq_f32_s32(vreinterpretq_s32_u8(v)); }
static inline Floats multiply_add(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
// c - a * b
static inline Floats negated_multiply_add(Floats a, Floats b, Floats c) {
  return vfmsq_f32(c, a, b);
}
// The larger and the smaller; b where either is not a number.
static inline Floats larger(Floats a, Floats b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static inline Floats smaller(Floats a, Floats b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
static inline Floats magnitude(Floats v) { return vabsq_f32(v); }
static inline Floats round_to_even(Floats v) { return vrndnq_f32(v); }
// v * 2^n for whole n in -150 ... 128, in two steps because such powers alone are no normal
// numbers.
static inline Floats times_power_of_two(Floats v, Floats n) {
  const int32x4_t whole = vcvtnq_s32_f32(n);
  const int32x4_t half = vshrq_n_s32(whole, 1);
  const auto power = [](int32x4_t e) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(e, vdupq_n_s32(127)), 23));
  };
  return v * power(half) * power(vsubq_s32(whole, half));
}
static inline float sum_of_lanes(Floats v) { return vaddvq_f32(v); }
static inline float largest(Floats v) { return vmaxvq_f32(v); }
// The sums of four registers, side by side.
static inline Quad sums_of_four(Floats a, Floats b, Floats c, Floats d) {
  return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
}
static inline Quad load_quad(const float* p) { return vld1q_f32(p); }
static inline Quad add_quads(Quad a, Quad b) { return vaddq_f32(a, b); }
static inline void store_quad(float* p, Quad v) { vst1q_f32(p, v); }
// Lane 4 * row + strand moves to lane kRowsPerVector * strand + row: what transpose_words() of four
// strands gives, in the order of the rows.
static inline Floats in_row_order(Floats v) { return v; }

// ---- other element types, kLanes at a time -----------------------------------------------------

static inline Floats load_f32(const void* p) {
  return vreinterpretq_f32_u8(vld1q_u8(static_cast<const uint8_t*>(p)));
}
static inline uint16x4_t load_halves(const void* p) {
  return vreinterpret_u16_u8(vld1_u8(static_cast<const uint8_t*>(p)));
}
static inline Floats load_bf16(const void* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(load_halves(p), 16));
}
static inline Floats load_f16(const void* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(load_halves(p)));
}
static inline Floats load_int8(const void* p) {
  uint32_t bytes;
  __builtin_memcpy(&bytes, p, sizeof(bytes));
  const int16x8_t words = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes)));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
}
static inline void store_f16(void* p, Floats v) {
  vst1_u8(static_cast<uint8_t*>(p), vreinterpret_u8_f16(vcvt_f16_f32(v)));
}
static inline float half_to_float(uint16_t bits) {
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
}
static inline uint16_t float_to_half(float v) {  // rounds half to even
  return vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(v))), 0);
}
// Rounds half to even, v within +-127; what was stored is added to the 32-bit lanes of `sums`.
static inline Ints store_int8(void* p, Floats v, Ints sums) {
  const int32x4_t whole = vcvtnq_s32_f32(v);
  const int16x4_t words = vqmovn_s32(whole);
  const int8x8_t narrow = vqmovn_s16(vcombine_s16(words, words));
  const uint32_t bytes = vget_lane_u32(vreinterpret_u32_s8(narrow), 0);
  __builtin_memcpy(p, &bytes, sizeof(bytes));
  return vreinterpretq_u8_s32(vaddq_s32(vreinterpretq_s32_u8(sums), whole));
}
// Lane 4 * row + j, j < kLaneStrands: the sum of the four lanes of `row` in v[j].
static inline Ints add_lanes(const Ints* v) {
  const auto words = [&](int i) { return vreinterpretq_s32_u8(v[i]); };
  const int32x4_t low = vpaddq_s32(words(0), words(1)), high = vpaddq_s32(words(2), words(3));
  return vreinterpretq_u8_s32(vpaddq_s32(low, high));
}
static inline Ints zero_ints() { return vdupq_n_u8(0); }
static inline int32_t sum_ints(Ints v) { return vaddvq_s32(vreinterpretq_s32_u8(v)); }

// ---- signs and butterflies ---------------------------------------------------------------------

// Flips the lanes whose bit is set in the kLanes bits from bit `at` (a multiple of kLanes, least
// significant first) of `signs` on.
static inline Floats flip_signs(Floats v, const uint8_t* signs, int64_t at) {
  constexpr int32_t kShifts[kLanes] = {31, 30, 29, 28};
  const uint32x4_t bits = vdupq_n_u32(static_cast<uint32_t>(signs[at / 8] >> at % 8));
  const uint32x4_t flips = vandq_u32(vshlq_u32(bits, vld1q_s32(kShifts)), vdupq_n_u32(0x80000000u));
  return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(v), flips));
}
// Lane i becomes v[i] + v[i + s] where i has bit s clear, v[i - s] - v[i] where it is set:
// both stages s = 1, 2.
static inline Floats butterflies(Floats v) {
  const Floats even = vtrn1q_f32(v, v), odd = vtrn2q_f32(v, v);
  const Floats pairs = vtrn1q_f32(even + odd, even - odd);
  const float64x2_t halves = vreinterpretq_f64_f32(pairs);
  const Floats low = vreinterpretq_f32_f64(vzip1q_f64(halves, halves));
  const Floats high = vreinterpretq_f32_f64(vzip2q_f64(halves, halves));
  return vcombine_f32(vget_low_f32(low + high), vget_low_f32(low - high));
}

}  // namespace upg::kernels::UPG_ISA
