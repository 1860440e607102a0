// The most integer products that registers alone allow: the limit of the prompt's products.
#pragma once

#include <string_view>

namespace upg::bench {

// Multiplications and additions a second (two a product) of one thread, with the dot product
// instructions of the CPU table of this name; 0 for a table without.
double measure_int8_peak(std::string_view table, double seconds);
bool has_int8_peak(std::string_view table) noexcept;

}  // namespace upg::bench
