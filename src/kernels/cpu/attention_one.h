// One query token against a page of the cache: what generating text does for every token.
//
// Nothing is unpacked on the way: keys and values become floats in registers, each once for all
// heads of a chunk, and the page is read once for its keys and once for its values.
#pragma once

#include "kernels/cpu/kv_rows.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kHeadsAtOnce = 4;                        // that share a kv head
constexpr bool kManyRegisters = kTokensAtOnce > 4;     // 32, not 16
constexpr int kSlotsAtOnce = kManyRegisters ? 4 : 2;   // of keys
constexpr int kValuesAtOnce = kManyRegisters ? 4 : 2;  // vectors of a value row

// Vector i of a row of the cache.
template <KvType kType>
inline Floats load_kv_vector(const std::byte* row, int i) {
  if constexpr (kType == KvType::kF32) return load_f32(row + i * kLanes * 4);
  if constexpr (kType == KvType::kF16) return load_f16(row + i * kLanes * 2);
  if constexpr (kType == KvType::kQ8) {
    const std::byte* block = row + i * kLanes / kQ8Values * kQ8Bytes;
    uint16_t bits;
    __builtin_memcpy(&bits, block, 2);
    return load_int8(block + 2 + i * kLanes % kQ8Values) * splat(half_to_float(bits));
  }
}

// `rows` of one page and kv head, `bytes` apart; slots [first, last] of them are seen. `next`: what
// is read after them, as many bytes; asked for meanwhile, since the processor does not foresee it.
struct PageRows {
  const std::byte* rows;
  int64_t bytes;
  int first;
  int last;
  const std::byte* next;
};

inline void ask_for_next(const PageRows& page, int slot, int slots) {
  const std::byte* end = page.next + (slot + slots) * page.bytes;
  for (const std::byte* p = page.next + slot * page.bytes; p < end; p += 64) __builtin_prefetch(p);
}

// scores[head][slot] = q[head] . row[slot]; q: [kHeads, vectors * kLanes].
template <KvType kType, int kHeads>
void score_rows(const float* q, int vectors, const PageRows& page, float (*scores)[kPageTokens]) {
  for (int slot = page.first; slot <= page.last; slot += kSlotsAtOnce) {
    ask_for_next(page, slot, kSlotsAtOnce);
    const std::byte* row[kSlotsAtOnce];
    for (int s = 0; s < kSlotsAtOnce; ++s) {
      // The last few again rather than rows that nobody wrote.
      row[s] = page.rows + (slot + s < page.last ? slot + s : page.last) * page.bytes;
    }
    Floats sums[kSlotsAtOnce][kHeadsAtOnce];
    for (auto& of_slot : sums) {
      for (Floats& sum : of_slot) sum = zeros();
    }
    for (int i = 0; i < vectors; ++i) {
      Floats k[kSlotsAtOnce];
      for (int s = 0; s < kSlotsAtOnce; ++s) k[s] = load_kv_vector<kType>(row[s], i);
      for (int h = 0; h < kHeads; ++h) {
        const Floats x = load(q + (h * vectors + i) * kLanes);
        for (int s = 0; s < kSlotsAtOnce; ++s) sums[s][h] = multiply_add(x, k[s], sums[s][h]);
      }
    }
    for (int s = 0; s < kSlotsAtOnce && slot + s <= page.last; ++s) {
      float of_heads[kHeadsAtOnce];
      store_quad(of_heads, sums_of_four(sums[s][0], sums[s][1], sums[s][2], sums[s][3]));
      for (int h = 0; h < kHeads; ++h) scores[h][slot + s] = of_heads[h];
    }
  }
}

// out[head] = out[head] * shrink[head] + sum over the slots of weights[head][slot] * row[slot];
// out: [kHeads, vectors * kLanes]. kCount vectors from vector `i` on.
template <KvType kType, int kHeads, int kCount>
inline void gather_vectors(float* out, const float* shrink, int vectors, int i,
                           const PageRows& page, const float (*weights)[kPageTokens]) {
  Floats sums[kHeads][kCount];
  for (int h = 0; h < kHeads; ++h) {
    for (int c = 0; c < kCount; ++c) {
      sums[h][c] = load(out + (h * vectors + i + c) * kLanes) * splat(shrink[h]);
    }
  }
  for (int slot = page.first; slot <= page.last; ++slot) {
    if (i == 0) ask_for_next(page, slot, 1);
    Floats v[kCount];
    for (int c = 0; c < kCount; ++c) {
      v[c] = load_kv_vector<kType>(page.rows + slot * page.bytes, i + c);
    }
    for (int h = 0; h < kHeads; ++h) {
      const Floats weight = splat(weights[h][slot]);
      for (int c = 0; c < kCount; ++c) sums[h][c] = multiply_add(weight, v[c], sums[h][c]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int c = 0; c < kCount; ++c) store(out + (h * vectors + i + c) * kLanes, sums[h][c]);
  }
}

template <KvType kType, int kHeads>
void gather_rows(float* out, const float* shrink, int vectors, const PageRows& page,
                 const float (*weights)[kPageTokens]) {
  int i = 0;
  for (; i + kValuesAtOnce <= vectors; i += kValuesAtOnce) {
    gather_vectors<kType, kHeads, kValuesAtOnce>(out, shrink, vectors, i, page, weights);
  }
  for (; i < vectors; ++i) {
    gather_vectors<kType, kHeads, 1>(out, shrink, vectors, i, page, weights);
  }
}

// Calls call(type, heads) with both as types whose ::value is known to the compiler.
template <auto kValue>
struct Constant {
  static constexpr auto value = kValue;
};

template <class Call>
inline void with_type(KvType type, const Call& call) {
  if (type == KvType::kF32) return call(Constant<KvType::kF32>());
  if (type == KvType::kF16) return call(Constant<KvType::kF16>());
  call(Constant<KvType::kQ8>());
}

template <class Call>
inline void with_heads(int heads, const Call& call) {
  if (heads == 1) return call(Constant<1>());
  if (heads == 2) return call(Constant<2>());
  if (heads == 3) return call(Constant<3>());
  call(Constant<kHeadsAtOnce>());
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
