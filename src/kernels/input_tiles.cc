#include "kernels/input_tiles.h"

#include <cstring>

namespace upg::kernels {

namespace {

// Four columns of four inputs; the words of a 4 x 4 square change places with their mirror images.
using Words = int32_t __attribute__((vector_size(16)));
constexpr int64_t kSquare = 4;
constexpr int64_t kSquareColumns = kSquare * 4;

Words load_words(const int8_t* from) {
  Words words;
  std::memcpy(&words, from, sizeof(words));
  return words;
}

// Inputs `cols` apart; the words of four columns `stride` apart.
void turn_square(const int8_t* from, int64_t cols, int8_t* to, int64_t stride) {
  const Words a = load_words(from);
  const Words b = load_words(from + cols);
  const Words c = load_words(from + 2 * cols);
  const Words d = load_words(from + 3 * cols);
  const Words ab[] = {__builtin_shufflevector(a, b, 0, 4, 1, 5),
                      __builtin_shufflevector(a, b, 2, 6, 3, 7)};
  const Words cd[] = {__builtin_shufflevector(c, d, 0, 4, 1, 5),
                      __builtin_shufflevector(c, d, 2, 6, 3, 7)};
  for (int half = 0; half < 2; ++half, to += 2 * stride) {
    const Words first = __builtin_shufflevector(ab[half], cd[half], 0, 1, 4, 5);
    const Words second = __builtin_shufflevector(ab[half], cd[half], 2, 3, 6, 7);
    std::memcpy(to, &first, sizeof(first));
    std::memcpy(to + stride, &second, sizeof(second));
  }
}

// [.begin, .end) of the tile's `size` inputs, word by word.
void fill_words(const int8_t* q, int64_t cols, InputTileRange inputs, int64_t size,
                int64_t first_column, int64_t last_column, int8_t* to) {
  for (int64_t column = first_column; column < last_column; column += 4, to += 4 * size) {
    for (int64_t i = inputs.begin; i < inputs.end; ++i) {
      std::memcpy(to + 4 * i, q + i * cols + column, 4);
    }
  }
}

}  // namespace

void fill_input_tile(const int8_t* q, int64_t cols, InputTileRange inputs, int64_t first_column,
                     int64_t last_column, int8_t* tiled) noexcept {
  const int64_t size = inputs.end - inputs.begin;
  const int64_t in_squares = size / kSquare * kSquare;
  const int8_t* from = q + inputs.begin * cols;
  int8_t* to = tiled + inputs.begin * cols + first_column * size;
  int64_t column = first_column;
  for (; column + kSquareColumns <= last_column; column += kSquareColumns) {
    for (int64_t i = 0; i < in_squares; i += kSquare) {
      turn_square(from + i * cols + column, cols, to + 4 * i, 4 * size);
    }
    fill_words(from, cols, {in_squares, size}, size, column, column + kSquareColumns, to);
    to += kSquareColumns * size;
  }
  fill_words(from, cols, {0, size}, size, column, last_column, to);
}

}  // namespace upg::kernels
