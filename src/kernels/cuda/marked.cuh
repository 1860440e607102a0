// Values that one block of a running kernel writes for others: each word of memory carries, beside
// the value, the number of the phase that takes it. Who reads the number has the value: no fence,
// no counter, no barrier between writing and reading. A number is not used again before everybody
// has read what carried it.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/token_program.h"

namespace upg::kernels::cuda {

__device__ __forceinline__ void publish(Marked* at, float value, uint32_t mark) {
  const Marked word = static_cast<Marked>(mark) << 32 | __float_as_uint(value);
  asm volatile("st.relaxed.gpu.global.b64 [%0], %1;" ::"l"(at), "l"(word) : "memory");
}

__device__ __forceinline__ bool has_mark(Marked word, uint32_t mark) {
  return static_cast<uint32_t>(word >> 32) == mark;
}
__device__ __forceinline__ float value_of(Marked word) {
  return __uint_as_float(static_cast<uint32_t>(word));
}

// Two words; at: aligned to both.
struct MarkedPair {
  Marked word[2];
};
__device__ __forceinline__ MarkedPair load_marked(const Marked* at) {
  MarkedPair pair;
  asm volatile("ld.relaxed.gpu.global.v2.b64 {%0, %1}, [%2];"
               : "=l"(pair.word[0]), "=l"(pair.word[1])
               : "l"(at)
               : "memory");
  return pair;
}

// kPairs pairs at from[i], read until all have the mark.
template <int kPairs>
__device__ __forceinline__ void await_marked(const Marked* const (&from)[kPairs], uint32_t mark,
                                             MarkedPair (&pairs)[kPairs]) {
  bool all = false;
  while (!all) {
    all = true;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) pairs[i] = load_marked(from[i]);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      all = all && has_mark(pairs[i].word[0], mark) && has_mark(pairs[i].word[1], mark);
    }
  }
}

// Four floats.
__device__ __forceinline__ float4 await_floats(const Marked* from, uint32_t mark) {
  MarkedPair pairs[2];
  await_marked<2>({from, from + 2}, mark, pairs);
  return {value_of(pairs[0].word[0]), value_of(pairs[0].word[1]), value_of(pairs[1].word[0]),
          value_of(pairs[1].word[1])};
}

// Three words and their mark, written and read as one.
__device__ __forceinline__ void publish(MarkedVector* at, const uint32_t (&words)[3],
                                        uint32_t mark) {
  asm volatile(
      "{ .reg .b64 low, high; .reg .b128 all;\n\t"
      "mov.b64 low, {%1, %2};\n\tmov.b64 high, {%3, %4};\n\tmov.b128 all, {low, high};\n\t"
      "st.relaxed.gpu.global.b128 [%0], all; }" ::"l"(at),
      "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(mark)
      : "memory");
}
__device__ __forceinline__ MarkedVector load_marked(const MarkedVector* at) {
  MarkedVector vector;
  asm volatile(
      "{ .reg .b64 low, high; .reg .b128 all;\n\t"
      "ld.relaxed.gpu.global.b128 all, [%4];\n\tmov.b128 {low, high}, all;\n\t"
      "mov.b64 {%0, %1}, low;\n\tmov.b64 {%2, %3}, high; }"
      : "=r"(vector.word[0]), "=r"(vector.word[1]), "=r"(vector.word[2]), "=r"(vector.mark)
      : "l"(at)
      : "memory");
  return vector;
}

}  // namespace upg::kernels::cuda
