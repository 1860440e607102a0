#include "codec/owned_matrix.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "codec/rotation.h"

namespace upg::codec {
namespace {

constexpr std::align_val_t kAlignment{64};

struct AlignedDelete {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, kAlignment); }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete>;

AlignedBytes aligned_copy(const std::vector<std::byte>& bytes) {
  AlignedBytes copy(static_cast<std::byte*>(::operator new[](bytes.size(), kAlignment)));
  std::copy(bytes.begin(), bytes.end(), copy.get());
  return copy;
}

}  // namespace

struct OwnedMatrix::Storage {
  struct Tensor {
    std::string suffix;
    AlignedBytes bytes;
    base::TensorView view;
  };
  std::vector<Tensor> tensors;
  std::vector<uint8_t> signs;
  Matrix matrix;

  const base::TensorView* find(std::string_view suffix) const {
    for (const Tensor& tensor : tensors) {
      if (tensor.suffix == suffix) return &tensor.view;
    }
    return nullptr;
  }
};

OwnedMatrix::OwnedMatrix(const Codec& codec, int64_t rows, int64_t cols,
                         const std::vector<Part>& parts, std::vector<uint8_t> signs)
    : storage_(std::make_unique<Storage>()) {
  storage_->signs = std::move(signs);
  for (const Part& part : parts) {
    AlignedBytes bytes = aligned_copy(part.bytes);
    base::TensorView view = {part.spec.dtype, part.spec.shape, {bytes.get(), part.bytes.size()}};
    storage_->tensors.push_back({part.spec.suffix, std::move(bytes), std::move(view)});
  }
  StoredMatrix stored;
  stored.name = "matrix";
  stored.rows = rows;
  stored.cols = cols;
  stored.signs = storage_->signs.empty() ? nullptr : storage_->signs.data();
  stored.part = [this](std::string_view suffix) { return storage_->find(suffix); };
  storage_->matrix = codec.bind(stored);
}

OwnedMatrix::OwnedMatrix(OwnedMatrix&&) noexcept = default;
OwnedMatrix& OwnedMatrix::operator=(OwnedMatrix&&) noexcept = default;
OwnedMatrix::~OwnedMatrix() = default;

const Matrix& OwnedMatrix::view() const noexcept { return storage_->matrix; }

OwnedMatrix encode_matrix(const Codec& codec, int64_t rows, int64_t cols, const float* weights,
                          std::vector<uint8_t> signs, const EncodeOptions& options) {
  const int64_t stored_cols = signs.empty() ? cols : padded_cols(cols);
  std::vector<float> stored(static_cast<size_t>(rows * stored_cols));
  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(weights + row * cols, cols, stored.data() + row * stored_cols);
  }
  if (!signs.empty()) rotate(stored.data(), rows, stored_cols, signs.data());
  const std::unique_ptr<Encoder> encoder = codec.encoder(rows, cols, stored_cols, options);
  encoder->train(stored.data(), rows);
  encoder->encode(0, rows, stored.data());
  return OwnedMatrix(codec, rows, cols, encoder->finish(), std::move(signs));
}

}  // namespace upg::codec
