// A matrix in device memory.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "codec/matrix.h"
#include "kernels/backend.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {

class DeviceWeight final : public Weight {
 public:
  explicit DeviceWeight(const codec::Matrix& matrix) : Weight(matrix.rows, matrix.cols) {}
  const MatrixView& view() const noexcept { return view_; }
  // Of the input's rotation, in device memory; the same pointer for matrices that share one.
  const uint8_t* signs() const noexcept { return signs_ ? signs_->as<uint8_t>() : nullptr; }
  bool takes_integers() const noexcept { return cuda::takes_integers(view_.kind); }

 private:
  friend class WeightUpload;
  MatrixView view_ = {};
  DeviceArray codes_, scale_, deltas_, row_pointers_, primes_;
  std::shared_ptr<const DeviceArray> signs_, prime_values_;
};

// Device memory that WeightUpload::load() takes, with what the driver rounds up.
uint64_t device_bytes(const codec::Matrix& matrix) noexcept;

// Makes DeviceWeights; keeps what they share. Copies are queued on the stream; the matrix's bytes
// may go afterwards.
class WeightUpload {
 public:
  WeightUpload(Uploader& uploader, cudaStream_t stream) : uploader_(uploader), stream_(stream) {}
  std::shared_ptr<const DeviceWeight> load(const codec::Matrix& matrix);

 private:
  template <class T>
  const T* copy(DeviceArray& array, const T* from, int64_t count);
  std::shared_ptr<const DeviceArray> shared_signs(const codec::Matrix& matrix);
  void fill(DeviceWeight& weight, const codec::PathMatrix& path);
  void fill(DeviceWeight& weight, const codec::Int8Matrix& int8);
  void fill(DeviceWeight& weight, const codec::SparseMatrix& sparse);
  void fill(DeviceWeight& weight, const codec::MdcsrMatrix& mdcsr);
  void fill(DeviceWeight& weight, const codec::RawMatrix& raw);

  Uploader& uploader_;
  cudaStream_t stream_;
  std::map<std::string, std::weak_ptr<const DeviceArray>> signs_;  // by content
  std::weak_ptr<const DeviceArray> prime_values_;
};

}  // namespace upg::kernels::cuda
