#include "codec/rotation.h"

#include <span>

#include "base/check.h"
#include "base/file.h"
#include "codec/matrix.h"

namespace upg::codec {
namespace {

constexpr float kNorm = 0.08838834764831845f;  // 1 / sqrt(128)

// SplitMix64 (Steele, Lea, Flood 2014): a full-period stream from any seed.
uint64_t next(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Sylvester order: H_2n = [[H_n, H_n], [H_n, -H_n]]. The spans ascend, so that the order of the
// additions, and with it every last bit, is the same wherever this runs.
template <int kSpan>
void butterflies(float* __restrict x) noexcept {
  for (int base = 0; base < kBlockColumns; base += 2 * kSpan) {
    for (int i = base; i < base + kSpan; ++i) {
      const float a = x[i];
      const float b = x[i + kSpan];
      x[i] = a + b;
      x[i + kSpan] = a - b;
    }
  }
}

void hadamard(float* x) noexcept {
  butterflies<1>(x);
  butterflies<2>(x);
  butterflies<4>(x);
  butterflies<8>(x);
  butterflies<16>(x);
  butterflies<32>(x);
  butterflies<64>(x);
  for (int i = 0; i < kBlockColumns; ++i) x[i] *= kNorm;
}

void flip(float* x, const uint8_t* signs) noexcept {
  for (int i = 0; i < kBlockColumns; ++i) {
    x[i] = (signs[i / 8] >> (i % 8) & 1) != 0 ? -x[i] : x[i];
  }
}

}  // namespace

std::vector<uint8_t> make_signs(std::string_view name, int64_t cols) {
  uint64_t state = base::xxh3(std::as_bytes(std::span(name)));
  std::vector<uint8_t> signs(static_cast<size_t>(padded_cols(cols) / 8));
  for (size_t i = 0; i < signs.size(); i += 8) {
    const uint64_t bits = next(state);
    for (size_t byte = 0; byte < 8; ++byte) {
      signs[i + byte] = static_cast<uint8_t>(bits >> (8 * byte));
    }
  }
  return signs;
}

void rotate(float* x, int64_t count, int64_t cols, const uint8_t* signs) noexcept {
  UPG_DCHECK(cols % kBlockColumns == 0);
  for (int64_t row = 0; row < count; ++row, x += cols) {
    for (int64_t c = 0; c < cols; c += kBlockColumns) {
      flip(x + c, signs + c / 8);
      hadamard(x + c);
    }
  }
}

void unrotate(float* x, int64_t count, int64_t cols, const uint8_t* signs) noexcept {
  UPG_DCHECK(cols % kBlockColumns == 0);
  for (int64_t row = 0; row < count; ++row, x += cols) {
    for (int64_t c = 0; c < cols; c += kBlockColumns) {
      hadamard(x + c);
      flip(x + c, signs + c / 8);
    }
  }
}

}  // namespace upg::codec
