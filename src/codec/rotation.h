// The input rotation: x' = H D x / sqrt(128) per block of 128 columns: signs first, then a
// Sylvester-ordered Hadamard transform. Orthogonal and, the signs apart, its own inverse.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace upg::codec {

// The signs of the activation called `name`: [padded_cols / 8] bytes, a fixed function of the name.
std::vector<uint8_t> make_signs(std::string_view name, int64_t cols);

// In place on `count` vectors of `cols` floats (a multiple of 128).
void rotate(float* x, int64_t count, int64_t cols, const uint8_t* signs) noexcept;
void unrotate(float* x, int64_t count, int64_t cols, const uint8_t* signs) noexcept;

}  // namespace upg::codec
