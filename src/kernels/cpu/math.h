// Loops over arrays and the exponential, in the words of the vector layer.
#pragma once

namespace upg::kernels::UPG_ISA {
namespace {

// e^v to about 2 units in the last place; 0 below -104, infinity above 88.7, NaN stays.
// e^v = 2^n * e^r with |r| <= ln(2) / 2, and Cephes' polynomial for e^r.
inline Floats exponential(Floats v) {
  v = smaller(splat(89.0f), larger(splat(-104.0f), v));
  const Floats n = round_to_even(v * splat(1.44269504088896341f));
  Floats r = negated_multiply_add(n, splat(0.693359375f), v);
  r = negated_multiply_add(n, splat(-2.12194440e-4f), r);
  Floats p = splat(1.9875691500e-4f);
  p = multiply_add(p, r, splat(1.3981999507e-3f));
  p = multiply_add(p, r, splat(8.3334519073e-3f));
  p = multiply_add(p, r, splat(4.1665795894e-2f));
  p = multiply_add(p, r, splat(1.6666665459e-1f));
  p = multiply_add(p, r, splat(5.0000001201e-1f));
  p = multiply_add(p, r * r, r + splat(1.0f));
  return times_power_of_two(p, n);
}

// whole(i) for every whole vector of [0, n), then part(i, floats left) if there are any.
template <class Whole, class Part>
inline __attribute__((always_inline)) void for_vectors(int64_t n, const Whole& whole,
                                                       const Part& part) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) whole(i);
  if (i < n) part(i, static_cast<int>(n - i));
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
