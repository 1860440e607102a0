#include "kernels/input_tiles.h"

#include <cstring>

namespace upg::kernels {

void fill_input_tile(const int8_t* q, int64_t cols, InputTileRange inputs, int64_t first_column,
                     int64_t last_column, int8_t* tiled) noexcept {
  const int64_t size = inputs.end - inputs.begin;
  int8_t* to = tiled + inputs.begin * cols + first_column * size;
  for (int64_t column = first_column; column < last_column; column += 4) {
    const int8_t* from = q + inputs.begin * cols + column;
    for (int64_t i = 0; i < size; ++i, from += cols, to += 4) std::memcpy(to, from, 4);
  }
}

}  // namespace upg::kernels
