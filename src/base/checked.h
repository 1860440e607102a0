// Arithmetic on numbers that came from a file or a client: it throws instead of wrapping.
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>

namespace upg::base {

[[noreturn]] void throw_overflow(std::string_view what);

// a * b and a + b in T. Throws Error(kInvalidData) naming `what` when the result does not fit.
template <std::integral T>
T checked_mul(T a, T b, std::string_view what) {
  T result;
  if (__builtin_mul_overflow(a, b, &result)) throw_overflow(what);
  return result;
}

template <std::integral T>
T checked_add(T a, T b, std::string_view what) {
  T result;
  if (__builtin_add_overflow(a, b, &result)) throw_overflow(what);
  return result;
}

// value rounded up to a multiple. value + multiple must not overflow (callers bound value first).
template <std::integral T>
constexpr T round_up(T value, T multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

template <std::integral T>
constexpr T ceil_div(T value, T divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace upg::base
