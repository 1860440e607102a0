#include "kernels/cuda/device_weight.h"

#include <variant>
#include <vector>

#include "base/tensor_view.h"
#include "codec/primes.h"
#include "kernels/cuda/launch.h"

namespace upg::kernels::cuda {
namespace {

constexpr int64_t kGroupVectorBytes = 64;  // one vector of each row of a group

Kind path_kind(int bits) {
  return bits == 2 ? Kind::kPath2 : bits == 3 ? Kind::kPath3 : Kind::kPath4;
}

Kind raw_kind(base::DType dtype) {
  if (dtype == base::DType::kF32) return Kind::kF32;
  return dtype == base::DType::kF16 ? Kind::kF16 : Kind::kBF16;
}

int64_t code_bytes(const MatrixView& view) {
  return codec::padded_rows(view.rows) / codec::kGroupRows * view.blocks * vectors_of(view.kind) *
         kGroupVectorBytes;
}

// Small arrays share pages of the driver's, large ones are whole pages.
uint64_t allocated(int64_t bytes) {
  constexpr uint64_t kSmall = 512;
  constexpr uint64_t kPage = uint64_t{2} << 20;
  const uint64_t unit = static_cast<uint64_t>(bytes) > kPage / 2 ? kPage : kSmall;
  return (static_cast<uint64_t>(bytes) + unit) / unit * unit;
}

struct DeviceBytes {
  int64_t rows;
  int64_t cols;

  uint64_t vectors(int64_t per_block) const {
    const int64_t groups = codec::padded_rows(rows) / codec::kGroupRows;
    return allocated(groups * codec::blocks_of(cols) * per_block * kGroupVectorBytes);
  }
  uint64_t scale() const { return allocated(4 * rows); }

  uint64_t operator()(const codec::PathMatrix& path) const {
    return vectors(vectors_of(path_kind(path.bits))) + scale();
  }
  uint64_t operator()(const codec::Int8Matrix&) const {
    return vectors(vectors_of(Kind::kInt8)) + scale();
  }
  uint64_t operator()(const codec::SparseMatrix&) const {
    return vectors(vectors_of(Kind::kPath4)) + scale();
  }
  uint64_t operator()(const codec::MdcsrMatrix& mdcsr) const {
    const int64_t entries = mdcsr.row_pointers[rows];
    return 2 * allocated(entries) + allocated(2 * entries) + allocated(4 * (rows + 1)) + scale();
  }
  uint64_t operator()(const codec::RawMatrix& raw) const {
    return allocated(rows * cols * static_cast<int64_t>(base::size_of(raw.dtype)));
  }
};

}  // namespace

uint64_t device_bytes(const codec::Matrix& matrix) noexcept {
  return std::visit(DeviceBytes{matrix.rows, matrix.cols}, matrix.view);
}

template <class T>
const T* WeightUpload::copy(DeviceArray& array, const T* from, int64_t count) {
  const size_t bytes = sizeof(T) * static_cast<size_t>(count);
  // Kernels may read a vector where an element is asked for.
  array = DeviceArray(bytes + 16);
  uploader_.upload(array.as<T>(), from, bytes);
  return array.as<T>();
}

std::shared_ptr<const DeviceArray> WeightUpload::shared_signs(const codec::Matrix& matrix) {
  const auto bytes = static_cast<size_t>(codec::padded_cols(matrix.cols) / 8);
  const std::string content(reinterpret_cast<const char*>(matrix.signs), bytes);
  std::weak_ptr<const DeviceArray>& known = signs_[content];
  if (auto shared = known.lock()) return shared;
  auto array = std::make_shared<DeviceArray>();
  copy(*array, matrix.signs, static_cast<int64_t>(bytes));
  known = array;
  return array;
}

void WeightUpload::fill(DeviceWeight& weight, const codec::PathMatrix& path) {
  MatrixView& view = weight.view_;
  view.kind = path_kind(path.bits);
  view.two_palettes = path.two_palettes;
  view.palette = make_palette(path);
  view.codes = copy(weight.codes_, path.codes, code_bytes(view));
  view.scale = copy(weight.scale_, path.scale, view.rows);
}

void WeightUpload::fill(DeviceWeight& weight, const codec::Int8Matrix& int8) {
  MatrixView& view = weight.view_;
  view.kind = Kind::kInt8;
  copy(weight.codes_, int8.codes, code_bytes(view));
  view.codes = weight.codes_.as<uint8_t>();
  view.scale = copy(weight.scale_, int8.scale, view.rows);
}

// The arrays of the file are gone once the new codes are written: freeing waits for the kernel.
void WeightUpload::fill(DeviceWeight& weight, const codec::SparseMatrix& sparse) {
  MatrixView& view = weight.view_;
  const int64_t groups = codec::padded_rows(view.rows) / codec::kGroupRows;
  codec::PathMatrix path;
  path.bits = 4;
  path.level_a = sparse.level;
  view.kind = Kind::kPath4;
  view.palette = make_palette(path);
  DeviceArray masks, codes, offsets;
  const int64_t mask_bytes = codec::padded_rows(view.rows) * view.blocks * 16;
  const uint8_t* mask_data = copy(masks, sparse.masks, mask_bytes);
  const uint8_t* code_data = copy(codes, sparse.codes, int64_t{sparse.offsets[groups]});
  const uint32_t* offset_data = copy(offsets, sparse.offsets, groups + 1);
  weight.codes_ = DeviceArray(static_cast<size_t>(code_bytes(view)));
  view.codes = weight.codes_.as<uint8_t>();
  sparse_to_path4(mask_data, code_data, offset_data, groups, view.blocks,
                  weight.codes_.as<uint8_t>(), stream_);
  check(cudaGetLastError(), "coding a sparse matrix again");
  view.scale = copy(weight.scale_, sparse.scale, view.rows);
  check(cudaStreamSynchronize(stream_), "coding a sparse matrix again");
}

void WeightUpload::fill(DeviceWeight& weight, const codec::MdcsrMatrix& mdcsr) {
  MatrixView& view = weight.view_;
  view.kind = Kind::kMdcsr;
  const int64_t entries = mdcsr.row_pointers[view.rows];
  copy(weight.codes_, mdcsr.values, entries);
  view.codes = weight.codes_.as<uint8_t>();
  view.deltas = copy(weight.deltas_, mdcsr.deltas, entries);
  view.row_pointers = copy(weight.row_pointers_, mdcsr.row_pointers, view.rows + 1);
  view.primes = copy(weight.primes_, mdcsr.prime_indices, entries);
  view.scale = copy(weight.scale_, mdcsr.scale, view.rows);
  weight.prime_values_ = prime_values_.lock();
  if (!weight.prime_values_) {
    std::vector<float> values;
    for (int i = 0; i < codec::kPrimeCount; ++i) {
      values.push_back(codec::prime_value(static_cast<uint16_t>(i)));
    }
    auto array = std::make_shared<DeviceArray>();
    copy(*array, values.data(), codec::kPrimeCount);
    prime_values_ = array;
    weight.prime_values_ = array;
  }
  view.prime_values = weight.prime_values_->as<float>();
}

void WeightUpload::fill(DeviceWeight& weight, const codec::RawMatrix& raw) {
  MatrixView& view = weight.view_;
  view.kind = raw_kind(raw.dtype);
  const auto size = static_cast<int64_t>(base::size_of(raw.dtype));
  copy(weight.codes_, raw.data, view.rows * view.cols * size);
  view.codes = weight.codes_.as<uint8_t>();
}

std::shared_ptr<const DeviceWeight> WeightUpload::load(const codec::Matrix& matrix) {
  auto weight = std::make_shared<DeviceWeight>(matrix);
  MatrixView& view = weight->view_;
  view.rows = matrix.rows;
  view.cols = matrix.cols;
  view.blocks = codec::blocks_of(matrix.cols);
  std::visit([&](const auto& kind) { fill(*weight, kind); }, matrix.view);
  if (matrix.signs != nullptr) weight->signs_ = shared_signs(matrix);
  return weight;
}

}  // namespace upg::kernels::cuda
