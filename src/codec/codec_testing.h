// What the codec tests share: weights to encode, and stored matrices that can be damaged.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "codec/codec.h"

namespace upg::codec::testing {

inline std::vector<float> gaussian(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// The squared error over the sum of squares.
inline double relative_error(const std::vector<float>& want, const std::vector<float>& got) {
  double error = 0, square = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (static_cast<double>(want[i]) - got[i]) * (static_cast<double>(want[i]) - got[i]);
    square += static_cast<double>(want[i]) * want[i];
  }
  return error / square;
}

inline std::vector<Part> encode_parts(const Codec& codec, int64_t rows, int64_t cols,
                                      const std::vector<float>& weights,
                                      const EncodeOptions& options = {}) {
  const std::unique_ptr<Encoder> encoder = codec.encoder(rows, cols, cols, options);
  encoder->train(weights.data(), rows);
  encoder->encode(0, rows, weights.data());
  return encoder->finish();
}

// The tensors of one matrix, aligned, open to change before bind().
class Stored {
 public:
  struct Tensor {
    std::string suffix;
    base::TensorView view;
    std::vector<std::byte> buffer;
    std::byte* bytes = nullptr;  // 64-byte aligned in the buffer

    template <class T>
    T* data() {
      return reinterpret_cast<T*>(bytes);
    }
  };

  Stored(const Codec& codec, int64_t rows, int64_t cols, const std::vector<Part>& parts)
      : codec_(codec) {
    matrix_.name = "w";
    matrix_.rows = rows;
    matrix_.cols = cols;
    matrix_.part = [this](std::string_view suffix) -> const base::TensorView* {
      const Tensor* tensor = find(suffix);
      return tensor == nullptr ? nullptr : &tensor->view;
    };
    for (const Part& part : parts) {
      Tensor& tensor = tensors_.emplace_back();
      tensor.suffix = part.spec.suffix;
      tensor.view.dtype = part.spec.dtype;
      set_bytes(tensor, part.bytes);
      tensor.view.shape = part.spec.shape;
    }
  }

  Tensor& operator[](std::string_view suffix) { return *find(suffix); }
  StoredMatrix& matrix() { return matrix_; }
  Matrix bind() const { return codec_.bind(matrix_); }
  std::vector<float> decode() const {
    std::vector<float> out(static_cast<size_t>(matrix_.rows * matrix_.cols));
    decode_rows(bind(), 0, matrix_.rows, out.data());
    return out;
  }

  void remove(std::string_view suffix) { find(suffix)->suffix = "removed"; }
  // Another length of a one-dimensional tensor; what is new is zero.
  void resize(std::string_view suffix, int64_t elements) {
    Tensor& tensor = *find(suffix);
    std::vector<std::byte> bytes(tensor.view.bytes.begin(), tensor.view.bytes.end());
    bytes.resize(static_cast<size_t>(elements) * base::size_of(tensor.view.dtype));
    set_bytes(tensor, bytes);
    tensor.view.shape = {elements};
  }
  // The same bytes at an address that is off by `bytes`.
  void shift(std::string_view suffix, size_t bytes) {
    Tensor& tensor = *find(suffix);
    std::memmove(tensor.bytes + bytes, tensor.bytes, tensor.view.bytes.size());
    tensor.view.bytes = {tensor.bytes + bytes, tensor.view.bytes.size()};
  }

 private:
  Tensor* find(std::string_view suffix) {
    for (Tensor& tensor : tensors_) {
      if (tensor.suffix == suffix) return &tensor;
    }
    return nullptr;
  }
  static void set_bytes(Tensor& tensor, const std::vector<std::byte>& bytes) {
    tensor.buffer.resize(bytes.size() + 128);
    const auto address = reinterpret_cast<uintptr_t>(tensor.buffer.data());
    tensor.bytes = tensor.buffer.data() + (64 - address % 64) % 64;
    if (!bytes.empty()) std::memcpy(tensor.bytes, bytes.data(), bytes.size());
    tensor.view.bytes = {tensor.bytes, bytes.size()};
  }

  const Codec& codec_;
  std::deque<Tensor> tensors_;
  StoredMatrix matrix_;
};

}  // namespace upg::codec::testing
